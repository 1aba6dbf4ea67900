"""An SDR SDRAM on a board: registers in the pads, and its clock."""

from typing import Any

from amaranth import Cat, Elaboratable, Module
from amaranth.lib import io

LATE = "memory"  # domain of the SDRAM's clock
# By gear. Degrees that the SDRAM's clock comes after that of the pads' registers: late enough to
# hold commands, early enough for its data to be back in time.
PHASES = {1: 45.0, 2: 180.0}
# Edges between the controller's registers and the part beyond the CAS latency: a register in the
# pads on the way out and one on the way back, and above 56 MHz the pads' own delays.
ROUND_TRIPS = {1: 2, 2: 3}


class SdramPads(Elaboratable):
    """Pins of `setun.hw.memory.controllers.sdram_timing.sdram_pins` on a board's resource "sdram".

    Every signal has a register in its pad, clocked by `sync`, which is renamed for a part on a
    clock of its own. The part's clock is a copy of the domain `LATE`, in step with that clock and
    `PHASES` behind it.

    Parameters
    ----------
    pins
        The chip's side.

    Attributes
    ----------
    phase
        Degrees that `LATE` comes after the registers' clock, by the part's gear.
    """

    phase = PHASES.__getitem__

    def __init__(self, pins: Any) -> None:
        self.pins = pins

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pins, board = self.pins, platform.request("sdram", 0, dir="-")
        m.submodules.clk = clock = io.DDRBuffer("o", board.clk, o_domain=LATE)
        m.d.comb += clock.o.eq(0b01)  # high from the rising edge on
        outputs = {
            "clk_en": pins.cke,
            "cs": ~pins.cs_n,
            "ras": ~pins.ras_n,
            "cas": ~pins.cas_n,
            "we": ~pins.we_n,
            "ba": pins.ba,
            "a": pins.a,
            "dqm": pins.dqm,
        }
        for name, value in outputs.items():
            m.submodules[name] = pad = io.FFBuffer("o", getattr(board, name))
            m.d.comb += pad.o.eq(value)
        # One output enable for each pad, so that its register can lie in the pad too.
        got = []
        for k in range(len(pins.dq_o)):
            m.submodules[f"dq{k}"] = pad = io.FFBuffer("io", board.dq[k])
            m.d.comb += [pad.o.eq(pins.dq_o[k]), pad.oe.eq(pins.dq_oe)]
            got.append(pad.i)
        m.d.comb += pins.dq_i.eq(Cat(*got))
        return m


def shifted(post: int, degrees: float) -> tuple[int, int]:
    """(CPHASE, FPHASE) of a secondary output that divides by `post`: whole periods, eighths."""
    eighths = round(post * 8 * degrees / 360)
    return post - 1 + eighths // 8, eighths % 8
