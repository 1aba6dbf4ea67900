"""The chip: link and core between two UART pins, or behind a mailbox."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import MemoryLayout
from setun.firmware.link import identity
from setun.hw.cores import core_gateware
from setun.hw.link.link import Link, host_members
from setun.hw.link.signature import core_members
from setun.hw.memory.external import memory_pins
from setun.hw.memory.kinds import memory_gateware
from setun.hw.technology import GENERIC, Technology


class Chip(wiring.Component):
    """A ternary language model behind a UART, in the `sync` domain.

    Where rows of the array run several times a cycle there is a domain `fast`; see
    `setun.hw.array.rows.Rows`.

    Parameters
    ----------
    config
        What the chip is made of.
    layout
        The model in its memories at power-on; None for a blank chip.
    technology
        Cells of array, single-port RAM and accumulators.
    round_trip
        Edges that the board adds on the way to an SDRAM and back; see
        `setun.hw.memory.controllers.sdram.SdramController`.
    patience
        Exponent of the cycles that a pass may take, see `setun.hw.control.watchdog`; None for the
        configuration's.

    Members
    -------
    rx : In(1), tx : Out(1)
        UART, 8N1, `config.baud`; rx may be asynchronous. Protocol: docs/link.md.
    host : In
        Of a chip with a mailbox instead, see `setun.hw.link.mailbox`.
    memory : Out
        Pins of an external weight memory, if there is one.

    Attributes
    ----------
    working
        Signal, for a board's LED: some context works.
    beats
        A counter that runs freely, its highest bit at about 1 Hz or slower; None where the core has
        no use for one.
    pads
        Name of the board's pins that `memory` is wired to; "" for none.
    gear
        Above 1 these pins are of the domain `fast`, so many times as fast.
    """

    def __init__(
        self,
        config: ChipConfig,
        layout: MemoryLayout | None = None,
        technology: Technology = GENERIC,
        *,
        round_trip: int = 1,
        patience: int | None = None,
    ) -> None:
        self.config = config
        self.layout = layout
        kind = core_gateware(config)
        kind.check(config)
        self.ties = kind.ties(config)
        self.core: Any = kind.component(
            config, layout, technology, round_trip=round_trip, patience=patience
        )
        self.beats: Signal | None = self.core.beats
        self.pads = memory_gateware(config).pads
        self.gear = config.memory_kind.gear
        self.working = Signal()
        members = host_members(bool(config.mailbox))
        if config.external:
            members["memory"] = Out(memory_pins(config))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        info = identity.encode(self.config)
        m.submodules.link = link = Link(
            info, self.config.divisor, self.ties, mailbox=bool(self.config.mailbox)
        )
        m.submodules.core = core = self.core
        if self.config.external:
            wiring.connect(m, wiring.flipped(self.memory), core.memory)
        if self.config.mailbox:
            wiring.connect(m, wiring.flipped(self.host), link.host)
        else:
            m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        for name, member in core_members(self.ties).items():
            ours, theirs = getattr(link, name), getattr(core, name)
            if member.is_signature:
                wiring.connect(m, ours, theirs)
            else:
                outward = member.flow is Out
                m.d.comb += theirs.eq(ours) if outward else ours.eq(theirs)
        m.d.comb += self.working.eq(core.running)
        return m
