"""SDRAM controllers joined to models of their parts, for benches."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.hw.memory.controllers.port import MAX_BEATS
from setun.hw.memory.controllers.sdram import SdramController
from setun.hw.memory.controllers.sdram_timing import SdramPart, sdram_pins
from setun.hw.pipeline import delayed
from setun.sim.memories.sdram import SdramModel
from setun.sim.memories.sdram_rules import violation_layout

POWER_UP_US = 3.0  # instead of 200


class SdramSystem(wiring.Component):
    """A controller and the model of its part, `round_trip` - 1 pad registers in between.

    `told` is the part whose figures the controller believes in, `told_round_trip` the delay.

    Members: those of the controller but its pins; `violation` of the model.
    """

    PORTS = ("read", "o", "bus_req", "bus_rsp", "ready")

    def __init__(
        self,
        part: SdramPart,
        clock_hz: float,
        *,
        told: SdramPart | None = None,
        round_trip: int = 1,
        told_round_trip: int | None = None,
        cas_latency: int | None = None,
        depth: int = 1 << 12,
    ) -> None:
        self.part, self.clock_hz, self.round_trip = part, clock_hz, round_trip
        self.controller = SdramController(
            told or part,
            clock_hz,
            round_trip=told_round_trip or round_trip,
            cas_latency=cas_latency,
            power_up_us=POWER_UP_US,
        )
        self.model = SdramModel(
            part, clock_hz, depth=depth, patterned=True, power_up_us=POWER_UP_US
        )
        members = self.controller.signature.members
        super().__init__(
            {**{name: members[name] for name in self.PORTS}, "violation": Out(violation_layout)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.controller = controller = self.controller
        m.submodules.model = model = self.model
        for name in ("read", "bus_req"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(controller, name))
        for name in ("o", "bus_rsp"):
            wiring.connect(m, getattr(controller, name), wiring.flipped(getattr(self, name)))
        m.d.comb += [self.ready.eq(controller.ready), self.violation.eq(model.violation)]
        pads = self.round_trip - 1
        near, far = controller.pins, model.pins
        # The first further register is in the outputs' pads, the others in the inputs'.
        for name, member in sdram_pins(self.part).members.items():
            value: Value
            if member.flow == Out:
                value = getattr(near, name)
                if pads:
                    value = Signal.like(value, name=f"{name}_pad")
                    m.d.sync += value.eq(getattr(near, name))
                m.d.comb += getattr(far, name).eq(value)
            else:
                value = delayed(m, getattr(far, name), max(0, pads - 1), f"{name}_pad")
                m.d.comb += getattr(near, name).eq(value)
        return m


class SequentialReader(wiring.Component):
    """Reads the part from address 0 on, without end, and checks every beat.

    Parameters
    ----------
    size
        Beats of a request; None is `MAX_BEATS`, or a page if that is less.
    stride
        From one request to the next, if not `size`.

    Members
    -------
    run : In
        Offer requests.
    beats, cycles, wrong : Out
        Beats received; cycles since the first one, that included; beats with wrong contents.
    violation, ready : Out
        Of the system.
    """

    def __init__(
        self, system: SdramSystem, *, size: int | None = None, stride: int | None = None
    ) -> None:
        self.system = system
        self.size = size or min(MAX_BEATS, system.controller.burst)
        self.stride = stride or self.size
        super().__init__(
            {
                "run": In(1),
                "beats": Out(32),
                "cycles": Out(32),
                "wrong": Out(32),
                "violation": Out(violation_layout),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.system = system = self.system
        read, o, dq = system.read, system.o, system.part.dq
        address = Signal.like(read.payload.address)
        at = Signal.like(address)  # of the next beat
        left = Signal(range(self.size), init=self.size - 1)
        m.d.comb += [
            read.valid.eq(self.run),
            read.payload.address.eq(address),
            read.payload.beats.eq(self.size),
            o.ready.eq(1),
            self.violation.eq(system.violation),
            self.ready.eq(system.ready),
        ]
        with m.If(read.valid & read.ready):
            m.d.sync += address.eq(address + self.stride)
        with m.If(o.valid | (self.beats != 0)):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(o.valid):
            m.d.sync += [self.beats.eq(self.beats + 1), at.eq(at + 1), left.eq(left - 1)]
            with m.If(left == 0):
                m.d.sync += [at.eq(at + self.stride - self.size + 1), left.eq(self.size - 1)]
            expected = (at * 0x9E3779B1)[32 - dq : 32]
            with m.If(o.payload != expected):
                m.d.sync += self.wrong.eq(self.wrong + 1)
        return m


class RawPart(wiring.Component):
    """A model behind ports of few, wide words, to be driven by a list of pins.

    Members
    -------
    script : In
        {dq_o, dq_oe, dqm, a, ba, command} of this cycle, `command` lowest.
    dq : Out
        What the part shows.
    violation : Out
        Of the model.
    """

    def __init__(self, model: SdramModel) -> None:
        self.model = model
        part = model.part
        width = 3 + 2 + part.address_pins + part.dq // 8 + 1 + part.dq
        super().__init__(
            {
                "script": In(width),
                "cke": In(1, init=1),
                "dq": Out(part.dq),
                "violation": Out(violation_layout),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.model = model = self.model
        pins = model.pins
        command = Cat(pins.we_n, pins.cas_n, pins.ras_n)
        m.d.comb += [
            Cat(command, pins.ba, pins.a, pins.dqm, pins.dq_oe, pins.dq_o).eq(self.script),
            pins.cs_n.eq(Mux(command.all(), 1, 0)),
            pins.cke.eq(self.cke),
            self.dq.eq(pins.dq_i),
            self.violation.eq(model.violation),
        ]
        return m
