"""The flash that an ECP5 is configured from, as the memory of a chip."""

from typing import Any

from amaranth import Cat, Elaboratable, Instance, Module
from amaranth.lib import io


class FlashPads(Elaboratable):
    """Pins of `setun.hw.memory.controllers.qspi_parts.flash_pins` on a board's resource "qspi".

    The pads have no registers: the controller's are at both ends, and two cycles of SCK's half
    clock hold the way out, the part's tV and the way back. SCK leaves through USRMCLK, the pad
    that clocked the configuration (Lattice FPGA-TN-02039); it takes some nanoseconds more than a
    pad, which comes out of those cycles too.

    Parameters
    ----------
    pins
        The chip's side.

    Attributes
    ----------
    phase
        None: no clock of their own.
    """

    phase = None

    def __init__(self, pins: Any) -> None:
        self.pins = pins

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pins, board = self.pins, platform.request("qspi", 0, dir="-")
        m.submodules.sck = Instance("USRMCLK", i_USRMCLKI=pins.sck, i_USRMCLKTS=0)
        m.submodules.cs = select = io.Buffer("o", board.cs)
        m.d.comb += select.o.eq(~pins.cs_n)
        got = []
        for k in range(len(pins.io_o)):
            m.submodules[f"dq{k}"] = pad = io.Buffer("io", board.dq[k])
            m.d.comb += [pad.o.eq(pins.io_o[k]), pad.oe.eq(pins.io_oe[k])]
            got.append(pad.i)
        m.d.comb += pins.io_i.eq(Cat(*got))
        return m
