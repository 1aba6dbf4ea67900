"""The chip on a board with an iCE40: clock, reset, serial pins."""

from dataclasses import dataclass
from typing import Any

from amaranth import ClockDomain, ClockSignal, Elaboratable, Instance, Module, ResetSignal, Signal
from amaranth.lib import io

from setun.firmware.errors import SetunError
from setun.hw.fpga.ecp5.top import Board
from setun.hw.fpga.flow.heartbeat import Heartbeat

# SB_PLL40 of the UltraPlus (Lattice FPGA-DS-02008, FPGA-TN-02052), in MHz.
OSCILLATOR_MHZ = (533.0, 1066.0)
OUTPUT_MHZ = (16.0, 275.0)
DETECTOR_MHZ = (10.0, 133.0)
FILTERS = ((17.0, 1), (26.0, 2), (44.0, 3), (66.0, 4), (101.0, 5))
TOLERANCE = 1e-3
HOLD = 1 << 9
"""Cycles of reset: block RAM reads zeros in the first microseconds after configuration."""


@dataclass(frozen=True, kw_only=True)
class Ice40Pll:
    """Dividers, as SB_PLL40 takes them: output = input · (divf + 1) / (divr + 1) / 2**divq."""

    divr: int
    divf: int
    divq: int
    filter_range: int


def ice40_pll(input_mhz: float, clock_mhz: float) -> Ice40Pll | None:
    """Settings for `clock_mhz` within 0.1 %; None where it is the oscillator's clock itself.

    Raises
    ------
    SetunError
        The PLL does not make it; names the nearest clock.
    """
    if clock_mhz == input_mhz:
        return None
    found: list[tuple[float, float, Ice40Pll]] = []
    for divr in range(16):
        detector = input_mhz / (divr + 1)
        if not DETECTOR_MHZ[0] <= detector <= DETECTOR_MHZ[1]:
            continue
        wide = next((number for limit, number in FILTERS if detector < limit), 6)
        for divf in range(128):
            oscillator = detector * (divf + 1)
            for divq in range(1, 7):
                output = oscillator / (1 << divq)
                inside = OSCILLATOR_MHZ[0] <= oscillator <= OSCILLATOR_MHZ[1]
                if inside and OUTPUT_MHZ[0] <= output <= OUTPUT_MHZ[1]:
                    settings = Ice40Pll(divr=divr, divf=divf, divq=divq, filter_range=wide)
                    found.append((abs(output - clock_mhz), output, settings))
    if not found:
        raise SetunError("board clock", "must be one that the PLL takes", f"{input_mhz:g} MHz")
    error, output, settings = min(found, key=lambda one: (one[0], one[2].divr))
    if error > TOLERANCE * clock_mhz:
        raise SetunError(
            "clock",
            f"must be {input_mhz:g} MHz or one that the PLL makes from it",
            f"{clock_mhz:g} MHz",
            f"nearest is {output:.6g} MHz",
        )
    return settings


class Ice40Top(Elaboratable):
    """A chip with pins `rx` and `tx` (1 bit, idle high) wired to a board with an iCE40.

    Parameters
    ----------
    chip
        Component with members `rx` and `tx`, in the domain `sync`.
    board
        The board; its platform must be the one that elaborates this, and its oscillator on the
        pin beside the PLL.
    clock_mhz
        Clock of the chip: the oscillator's, or made of it. SetunError when the PLL cannot make it.

    The chip is held in reset until the clock is stable, and `HOLD` cycles more. The first LED is
    lit while a serial line carries a 0, the second one is a `Heartbeat` of the chip's `working`.
    """

    def __init__(self, chip: Any, board: Board, clock_mhz: float) -> None:
        self.chip, self.board = chip, board
        self.clock_mhz = clock_mhz
        self.pll = ice40_pll(board.clock_mhz, clock_mhz)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.chip = self.chip
        m.domains.sync = ClockDomain("sync")
        m.domains.start = start = ClockDomain("start", reset_less=True)
        m.d.comb += start.clk.eq(ClockSignal())
        locked = Signal()
        pin = platform.request(platform.default_clk, dir="-")
        if self.pll is None:
            m.submodules.clock_pin = clock_pin = io.Buffer("i", pin)
            m.submodules.global_clock = Instance(
                "SB_GB",
                i_USER_SIGNAL_TO_GLOBAL_BUFFER=clock_pin.i,
                o_GLOBAL_BUFFER_OUTPUT=ClockSignal(),
            )
            m.d.comb += locked.eq(1)
        else:
            m.submodules.pll = Instance(
                "SB_PLL40_PAD",
                p_FEEDBACK_PATH="SIMPLE",
                p_DIVR=self.pll.divr,
                p_DIVF=self.pll.divf,
                p_DIVQ=self.pll.divq,
                p_FILTER_RANGE=self.pll.filter_range,
                io_PACKAGEPIN=pin.io,
                i_RESETB=1,
                i_BYPASS=0,
                # nextpnr promotes it: with PLLOUTGLOBAL it spends all eight global buffers on
                # other nets, and never ends to route.
                o_PLLOUTCORE=ClockSignal(),
                o_LOCK=locked,
            )
        stable, held = Signal(2), Signal(range(HOLD + 1))
        m.d.start += stable.eq(stable << 1 | locked)
        with m.If(~stable[1]):
            m.d.start += held.eq(0)
        with m.Elif(held != HOLD):
            m.d.start += held.eq(held + 1)
        waiting = Signal(init=1)
        m.d.start += waiting.eq(held != HOLD)
        m.d.comb += ResetSignal().eq(waiting)

        uart = platform.request(self.board.uart, dir="-")
        m.submodules.rx_pin = rx_pin = io.Buffer("i", uart.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", uart.tx)
        m.d.comb += [self.chip.rx.eq(rx_pin.i), tx_pin.o.eq(self.chip.tx)]
        m.submodules.led_pin = led_pin = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.comb += led_pin.o.eq(~rx_pin.i | ~self.chip.tx)
        m.submodules.beat_pin = beat_pin = io.Buffer("o", platform.request("led", 1, dir="-"))
        m.submodules.heartbeat = heartbeat = Heartbeat(
            self.clock_mhz * 1e6, getattr(self.chip, "beats", None)
        )
        working = getattr(self.chip, "working", None)
        m.d.comb += beat_pin.o.eq(heartbeat.led)
        if working is not None:
            m.d.comb += heartbeat.working.eq(working)
        return m
