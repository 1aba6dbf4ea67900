"""The chip: link and core between two UART pins."""

from math import log2
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import Placement
from setun.firmware.link import identity
from setun.hw.array.dot import Technology
from setun.hw.control.generation import COUNTERS
from setun.hw.control.watchdog import patience as usual_patience
from setun.hw.core import Core
from setun.hw.link.link import Link
from setun.hw.link.sharing import silence_bits
from setun.hw.link.signature import core_members
from setun.hw.memory.external import memory_pins
from setun.hw.small.core import SmallCore
from setun.hw.small.pulse import Pulse


class Chip(wiring.Component):
    """A ternary language model behind a UART, in the `sync` domain.

    Where rows of the array run several times a cycle there is a domain `fast`; see
    `setun.hw.array.rows.Rows`.

    Parameters
    ----------
    config
        What the chip is made of.
    placement
        The model in its memories at power-on; None for a blank chip.
    technology
        Cells of array and SPRAM, see `DotRow` and `SpramWeights`.
    round_trip
        Edges that the board adds on the way to an SDRAM and back; see
        `setun.hw.memory.controllers.sdram.SdramController`.
    patience
        Of the watchdog, see `setun.hw.control.watchdog`; None for the configuration's.
    accumulators
        Of a small chip: for the flow of `setun.hw.fpga.flow`, see `setun.hw.small.array.RowSums`.

    Members
    -------
    rx : In(1), tx : Out(1)
        UART, 8N1, `config.baud`; rx may be asynchronous. Protocol: docs/link.md.
    memory : Out
        Pins of an external weight memory, if there is one.

    Attributes
    ----------
    working
        Signal, for a board's LED: some context works.
    beats
        Of a small chip: a counter that runs freely, its highest bit at about 1 Hz or slower. Else
        None.
    """

    def __init__(
        self,
        config: ChipConfig,
        placement: Placement | None = None,
        technology: Technology = "generic",
        *,
        round_trip: int = 1,
        patience: int | None = None,
        accumulators: bool = False,
    ) -> None:
        self.config = config
        self.placement = placement
        self.core: Any
        self.pulse: Pulse | None = None
        self.beats: Signal | None = None
        if config.small:
            self.core = SmallCore(config, placement, technology, accumulators=accumulators)
            self.counters = 0
            slow = (
                usual_patience(config) if patience is None else patience,
                silence_bits(config.divisor),
            )
            self.pulse = Pulse(max(round(log2(config.clock_hz)), 1 + max(slow)), slow)
            self.beats = self.pulse.count
        else:
            self.core = Core(
                config, placement, technology, round_trip=round_trip, patience=patience
            )
            self.counters = len(COUNTERS)
        self.working = Signal()
        members = {"rx": In(1, init=1), "tx": Out(1, init=1)}
        if config.external:
            members["memory"] = Out(memory_pins(config))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        info = identity.encode(self.config)
        m.submodules.link = link = Link(
            info,
            self.config.divisor,
            self.counters,
            self.config.contexts,
            terminal=bool(self.config.terminal),
            small=self.config.small,
        )
        m.submodules.core = core = self.core
        if self.config.external:
            wiring.connect(m, wiring.flipped(self.memory), core.memory)
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        for name, member in core_members(
            self.counters, bool(self.config.terminal), self.config.small
        ).items():
            ours, theirs = getattr(link, name), getattr(core, name)
            if member.is_signature:
                wiring.connect(m, ours, theirs)
            else:
                outward = member.flow is Out
                m.d.comb += theirs.eq(ours) if outward else ours.eq(theirs)
        m.d.comb += self.working.eq(core.running)
        if self.pulse is not None:
            m.submodules.pulse = self.pulse
            m.d.comb += core.strobe.eq(self.pulse.strobes[0])
            if self.config.terminal:
                m.d.comb += link.strobe.eq(self.pulse.strobes[1])
        return m
