"""SDR SDRAM parts: figures of their datasheets, and what these are in cycles of a clock."""

from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.errors import SetunError

BANKS = 4
SLOWEST_HZ, FASTEST_HZ = 30e6, 143e6
A10 = 1 << 10  # in PRECHARGE: of all banks


class Command(IntEnum):
    """{ras_n, cas_n, we_n} with cs_n low."""

    LOAD_MODE = 0
    REFRESH = 1
    PRECHARGE = 2
    ACTIVATE = 3
    WRITE = 4
    READ = 5
    BURST_STOP = 6
    NOP = 7


@dataclass(frozen=True, kw_only=True)
class Span:
    """A time that datasheets give in nanoseconds, in cycles, or as the longer of both."""

    ns: float = 0.0
    cycles: int = 0

    def at(self, clock_hz: float) -> int:
        """Whole cycles of a clock that last at least this long."""
        exact = Fraction(str(self.ns)) * Fraction(str(clock_hz)) / 10**9
        return max(self.cycles, -(-exact.numerator // exact.denominator))


@dataclass(frozen=True, kw_only=True)
class SdramPart:
    """Geometry and figures of one part, from the datasheet that `datasheet` names.

    Members
    -------
    dq
        Data pins: 16 or 32.
    rows, columns
        Of each of the four banks.
    rcd, rp, ras, rc, rrd, rfc, wr, mrd
        tRCD, tRP, tRAS, tRC, tRRD, tRFC, tWR (tDPL), tMRD (tRSC), all minimum.
    ras_max_ns
        Longest time that a row may stay open.
    refreshes, refresh_ms
        Every so many milliseconds so many refreshes.
    cas_hz
        Highest clock of each CAS latency, as the key timing table gives it.
    power_up_us, init_refreshes
        Pause before the first command; refreshes before the first access.
    """

    name: str
    datasheet: str
    dq: int
    rows: int
    columns: int
    rcd: Span
    rp: Span
    ras: Span
    rc: Span
    rrd: Span
    rfc: Span
    wr: Span
    mrd: Span
    cas_hz: tuple[tuple[int, float], ...] = ((2, 100e6), (3, 143e6))
    ras_max_ns: float = 100_000.0
    refreshes: int = 8192
    refresh_ms: float = 64.0
    power_up_us: float = 200.0
    init_refreshes: int = 8

    @property
    def capacity(self) -> int:
        """Bytes."""
        return BANKS * self.rows * self.columns * self.dq // 8

    @property
    def address_pins(self) -> int:
        """Width of the pins `a`: rows, columns below A10, and A10 itself."""
        return max((self.rows - 1).bit_length(), 11)


@dataclass(frozen=True, kw_only=True)
class SdramTiming:
    """What the controller counts, in cycles of its clock.

    Members
    -------
    cas_latency, rcd, rp, rrd, rfc, wr, mrd
        As of the part.
    ras
        From ACTIVATE to PRECHARGE, such that tRC follows from it and `rp`.
    refresh_interval
        Cycles between the refreshes that fall due: a little less than the datasheet asks for, so
        that postponed ones stay inside of its window.
    power_up
        Cycles before the first command.
    """

    cas_latency: int
    rcd: int
    rp: int
    ras: int
    rrd: int
    rfc: int
    wr: int
    mrd: int
    refresh_interval: int
    power_up: int


def sdram_timing(
    part: SdramPart,
    clock_hz: float,
    *,
    cas_latency: int | None = None,
    power_up_us: float | None = None,
) -> SdramTiming:
    """Cycles of `part` at `clock_hz`.

    Parameters
    ----------
    cas_latency
        Of the mode register; None takes the lowest that the clock allows.
    power_up_us
        Replaces the part's, to shorten simulations.

    Raises
    ------
    SetunError
        When the part cannot run at this clock or with this latency.
    """
    fitting = [latency for latency, highest in part.cas_hz if clock_hz <= highest]
    if not SLOWEST_HZ <= clock_hz <= FASTEST_HZ or not fitting:
        highest = min(FASTEST_HZ, max(hz for _, hz in part.cas_hz))
        raise SetunError(
            f"clock of {part.name}",
            f"must be {SLOWEST_HZ / 1e6:g} to {highest / 1e6:g} MHz",
            f"{clock_hz / 1e6:g} MHz",
        )
    latency = min(fitting) if cas_latency is None else cas_latency
    if latency not in fitting:
        raise SetunError(
            f"CAS latency of {part.name} at {clock_hz / 1e6:g} MHz",
            f"must be one of {', '.join(map(str, fitting))}",
            latency,
        )
    rp = part.rp.at(clock_hz)
    us = part.power_up_us if power_up_us is None else power_up_us
    return SdramTiming(
        cas_latency=latency,
        rcd=part.rcd.at(clock_hz),
        rp=rp,
        ras=max(part.ras.at(clock_hz), part.rc.at(clock_hz) - rp),
        rrd=part.rrd.at(clock_hz),
        rfc=part.rfc.at(clock_hz),
        wr=part.wr.at(clock_hz),
        mrd=part.mrd.at(clock_hz),
        refresh_interval=int(clock_hz * part.refresh_ms / 1e3 / (part.refreshes + 16)),
        power_up=Span(ns=us * 1e3).at(clock_hz),
    )


def sdram_pins(part: SdramPart) -> wiring.Signature:
    """Pins of a part but its clock, as the controller drives them.

    Members: `a`, `ba`, `cs_n`, `ras_n`, `cas_n`, `we_n`, `cke`, `dqm` (a bit for each byte),
    `dq_o` and `dq_oe` towards the part, `dq_i` from it.
    """
    return wiring.Signature(
        {
            "a": Out(part.address_pins),
            "ba": Out(2),
            "cs_n": Out(1, init=1),
            "ras_n": Out(1, init=1),
            "cas_n": Out(1, init=1),
            "we_n": Out(1, init=1),
            "cke": Out(1),
            "dqm": Out(part.dq // 8, init=(1 << part.dq // 8) - 1),
            "dq_o": Out(part.dq),
            "dq_oe": Out(1),
            "dq_i": In(part.dq),
        }
    )


# The slower figure where die revisions differ.
IS42S16160 = SdramPart(
    name="IS42S16160-7",
    datasheet="ISSI IS42S16160, -7, revisions B to J",
    dq=16,
    rows=8192,
    columns=512,
    rcd=Span(ns=20),
    rp=Span(ns=20),
    ras=Span(ns=45),
    rc=Span(ns=67.5),
    rrd=Span(ns=14),
    rfc=Span(ns=67.5),
    wr=Span(ns=14),
    mrd=Span(ns=15, cycles=2),
)

AS4C32M16SB = SdramPart(
    name="AS4C32M16SB-7",
    datasheet="Alliance AS4C32M16SB, June 2016, table 16, -7",
    dq=16,
    rows=8192,
    columns=1024,
    rcd=Span(ns=21),
    rp=Span(ns=21),
    ras=Span(ns=42),
    rc=Span(ns=63),
    rrd=Span(ns=14),
    rfc=Span(ns=63),
    wr=Span(ns=14),
    mrd=Span(ns=14, cycles=2),
)

# The figures of -6I and -6L, which -6 exceeds.
W9825G6 = SdramPart(
    name="W9825G6-6I",
    datasheet="Winbond W9825G6JH, November 2011, chapter 9.5, -6I",
    dq=16,
    rows=8192,
    columns=512,
    rcd=Span(ns=18),
    rp=Span(ns=18),
    ras=Span(ns=42),
    rc=Span(ns=60),
    rrd=Span(cycles=2),
    rfc=Span(ns=60),
    wr=Span(cycles=2),
    mrd=Span(cycles=2),
    cas_hz=((2, 100e6), (3, 166e6)),
)

MT48LC4M32B2 = SdramPart(
    name="MT48LC4M32B2-7",
    datasheet="Micron MT48LC4M32B2, table 12, -7",
    dq=32,
    rows=4096,
    columns=256,
    refreshes=4096,
    rcd=Span(ns=20),
    rp=Span(ns=20),
    ras=Span(ns=42),
    rc=Span(ns=70),
    rrd=Span(ns=14),
    rfc=Span(ns=70),
    wr=Span(ns=14, cycles=2),
    mrd=Span(cycles=2),
)

# Two IS42S16160 dies side by side in one package.
IS42S32160 = SdramPart(
    name="IS42S32160-75",
    datasheet="ISSI IS42S32160, -75, revisions A and C",
    dq=32,
    rows=8192,
    columns=512,
    rcd=Span(ns=20),
    rp=Span(ns=20),
    ras=Span(ns=45),
    rc=Span(ns=67.5),
    rrd=Span(ns=15),
    rfc=Span(ns=67.5),
    wr=Span(ns=15, cycles=2),
    mrd=Span(ns=15, cycles=2),
    cas_hz=((2, 100e6), (3, 133e6)),
)

PARTS = {part.name: part for part in (IS42S16160, AS4C32M16SB, W9825G6, MT48LC4M32B2, IS42S32160)}
