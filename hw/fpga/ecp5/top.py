"""The chip on a board with an ECP5: clock, reset, serial pins, pads of its memory."""

from typing import Any

from amaranth import (
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Elaboratable,
    Instance,
    Module,
    Signal,
)
from amaranth.build import ResourceError
from amaranth.lib import io

from setun.hw.array.rows import FAST
from setun.hw.fpga.board import Board
from setun.hw.fpga.ecp5.flash_pads import FlashPads
from setun.hw.fpga.ecp5.pll import pll_settings
from setun.hw.fpga.ecp5.sdram_pads import LATE, SdramPads, shifted
from setun.hw.fpga.heartbeat import Heartbeat

# Pads by what the gateware of memories calls them, see `setun.hw.memory.kinds`.
PADS: dict[str, Any] = {"": None, "sdram": SdramPads, "qspi": FlashPads}


class Ecp5Top(Elaboratable):
    """A chip with pins `rx` and `tx` (1 bit, idle high) wired to a board with an ECP5.

    A chip whose `pads` are of `PADS` has a `memory`, whose pins are wired to the board's.

    The domain `sync` runs at `clock_mhz`, made from the board's oscillator by a PLL where it
    differs. It has no reset of its own: registers start with their initial values and are
    held there by the chip-wide set/reset until the PLL locks, released on an edge of `sync`.
    The first LED, if the board has one, is a `Heartbeat` of the chip's `working`.

    Parameters
    ----------
    chip
        Component with members `rx` and `tx`, in the domain `sync`.
    board
        The board; its platform must be the one that elaborates this.
    clock_mhz
        Clock of the chip. SetunError at once when the PLL cannot make it.
    pump
        Above 1 the chip has a domain `fast` of so many times the clock, in phase with `sync`.
    """

    def __init__(self, chip: Any, board: Board, clock_mhz: float, pump: int = 1) -> None:
        self.chip = chip
        self.board = board
        self.clock_mhz = clock_mhz
        self.pump = pump
        # The fastest clock is the one that the loop is closed over: slower ones divide it.
        self.pll = pll_settings(board.clock_mhz, clock_mhz, self.pump)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.chip = self.chip

        m.submodules.clock_pin = clock_pin = io.Buffer(
            "i", platform.request(platform.default_clk, dir="-")
        )
        locked = Signal()
        m.domains.sync = ClockDomain("sync", reset_less=True)
        more: dict[str, Any] = {}
        pads = PADS[getattr(self.chip, "pads", "")]
        if pads is not None:
            gear = getattr(self.chip, "gear", 1)
            own = pads(self.chip.memory)
            m.submodules.pads = own if gear == 1 else DomainRenamer(FAST)(own)
            if pads.phase is not None:
                m.domains += ClockDomain(LATE, reset_less=True)
                slower = self.pump // gear
                more |= self._second("CLKOS", ClockSignal(LATE), pads.phase(gear), slower)
        if self.pump > 1:
            m.domains += ClockDomain(FAST, reset_less=True)
            more |= self._second("CLKOS2", ClockSignal(), 0, self.pump)
        fastest = ClockSignal(FAST if self.pump > 1 else "sync")
        if self.pll.output_mhz == self.board.clock_mhz and not more:
            m.d.comb += [fastest.eq(clock_pin.i), locked.eq(1)]
        else:
            m.submodules.pll = self._pll(clock_pin.i, fastest, locked, more)
        self._hold_until(m, locked)

        uart = platform.request(self.board.uart, dir="-")
        m.submodules.rx_pin = rx_pin = io.Buffer("i", uart.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", uart.tx)
        m.d.comb += [self.chip.rx.eq(rx_pin.i), tx_pin.o.eq(self.chip.tx)]

        try:
            led = platform.request("led", 0, dir="-")
        except ResourceError:
            return m
        m.submodules.led_pin = led_pin = io.Buffer("o", led)
        m.submodules.heartbeat = heartbeat = Heartbeat(self.clock_mhz * 1e6)
        working = getattr(self.chip, "working", None)
        m.d.comb += led_pin.o.eq(heartbeat.led)
        if working is not None:
            m.d.comb += heartbeat.working.eq(working)
        return m

    def _second(self, pin: str, output: Any, phase: float, slower: int) -> dict[str, Any]:
        """The PLL's ports for `output`, the fastest clock over `slower`, `phase` degrees late."""
        divider = self.pll.post * slower
        whole, eighths = shifted(divider, phase)
        return {
            f"a_FREQUENCY_PIN_{pin}": f"{self.pll.output_mhz / slower:g}",
            f"p_{pin}_ENABLE": "ENABLED",
            f"p_{pin}_DIV": divider,
            f"p_{pin}_CPHASE": whole,
            f"p_{pin}_FPHASE": eighths,
            f"o_{pin}": output,
        }

    def _pll(self, source: Any, output: Any, locked: Signal, more: dict[str, Any]) -> Instance:
        """`output` at the fastest clock, and what `_second` made."""
        return Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.board.clock_mhz:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.pll.output_mhz:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_CLKI_DIV=self.pll.reference,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=self.pll.post,
            p_CLKOP_CPHASE=self.pll.post - 1,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_CLKFB_DIV=self.pll.feedback,
            i_RST=0,
            i_STDBY=0,
            i_CLKI=source,
            i_CLKFB=output,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=1,
            i_PHASESTEP=1,
            i_PHASELOADREG=1,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=output,
            o_LOCK=locked,
            **more,
        )

    def _hold_until(self, m: Module, locked: Signal) -> None:
        stable = Signal(2)
        m.submodules.lock_0 = Instance(
            "FD1S3AX", p_GSR="DISABLED", i_CK=ClockSignal(), i_D=locked, o_Q=stable[0]
        )
        m.submodules.lock_1 = Instance(
            "FD1S3AX", p_GSR="DISABLED", i_CK=ClockSignal(), i_D=stable[0], o_Q=stable[1]
        )
        m.submodules.hold = Instance("SGSR", i_CLK=ClockSignal(), i_GSR=stable[1])
