"""The chip on a board with an iCE40: clock, reset, serial pins."""

from typing import Any

from amaranth import ClockDomain, ClockSignal, Elaboratable, Instance, Module, ResetSignal, Signal
from amaranth.lib import io

from setun.hw.fpga.board import Board
from setun.hw.fpga.heartbeat import Heartbeat
from setun.hw.fpga.ice40.pll import ice40_pll

HOLD = 1 << 9
"""Cycles of reset: block RAM reads zeros in the first microseconds after configuration."""


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
