"""Unpacker: records of the model's stream, each to the unit that takes it."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.image.records import HEADER_BITS, INSTRUCTION_BITS, Kind

HEADER = data.StructLayout(
    {"kind": 4, "gains": 1, "gates": 1, "spare": 2, "address": 24, "units": 32}
)
AHEAD = 2  # blocks of one store that may be there at once: the one in use and the next


class Semaphore(wiring.Component):
    """Blocks of a store: how many have come and are not used up.

    A store holds `AHEAD` blocks; the compiler places consecutive ones apart.

    Members
    -------
    room : Out(1)
        Another block may be written.
    ready : Out(1)
        A block that nobody has begun to use is there.
    came, begun, freed : In(1)
        Strobes: a block is complete; somebody begins to use the oldest that nobody uses; the
        oldest in use is used up.

    All take effect in the next cycle; reset empties the store.
    """

    def __init__(self) -> None:
        super().__init__(
            {"room": Out(1), "ready": Out(1), "came": In(1), "begun": In(1), "freed": In(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held, unused = Signal(range(AHEAD + 1)), Signal(range(AHEAD + 1))
        m.d.sync += [
            held.eq(held + self.came - self.freed),
            unused.eq(unused + self.came - self.begun),
        ]
        m.d.comb += [self.room.eq(held != AHEAD), self.ready.eq(unused != 0)]
        return m


def store_write(unit: int) -> data.StructLayout:
    """A unit for a store: which of them, its number there, 32 bits a number."""
    return data.StructLayout({"gates": 1, "address": 24, "data": unit})


class Unpacker(wiring.Component):
    """Takes a stream of records apart (`setun.firmware.image.records`).

    Reset begins anew with a header; nothing of a record that was under way is kept.

    Parameters
    ----------
    unit
        Bits of a unit: a power of two from 64 on.

    Members
    -------
    i : In(stream of `unit` bits)
        Units in order, the first a header.
    weights : Out(stream of `unit` bits)
        Units of all WEIGHTS records.
    instructions : Out(stream of 128 bits)
        Instructions in order.
    write : Out(1), written : Out(`store_write`)
        Strobe and unit of GAINS and GATES records; there is no backpressure.
    resident : In(1)
        Blocks stay where they are written: none waits for room, none is announced.
    gains_room, gates_room : In(1), gains_came, gates_came : Out(1)
        See `Semaphore`. A record waits for room before its first unit.
    token : Out(1), first : Out(24), gains_kept, gates_kept : Out(1)
        Strobe: a TOKEN record came, which names this burst and what stays on the chip. The unpacker
        then waits for its reset.
    stopped : Out(1)
        A STOP or TOKEN record came: nothing more is taken.
    fault : Out(1)
        A header was none: nothing more is taken.

    Throughput: one unit a cycle; a header takes one. An instruction takes one cycle, of
    units of 64 bits two. Latency: none.
    """

    def __init__(self, unit: int) -> None:
        if unit < HEADER_BITS or unit & (unit - 1):
            raise ValueError(f"a unit must be a power of two from {HEADER_BITS} bits on: {unit}")
        self.unit = unit
        super().__init__(
            {
                "i": In(stream.Signature(unit)),
                "weights": Out(stream.Signature(unit)),
                "instructions": Out(stream.Signature(INSTRUCTION_BITS)),
                "write": Out(1),
                "written": Out(store_write(unit)),
                "resident": In(1),
                "gains_room": In(1),
                "gates_room": In(1),
                "gains_came": Out(1),
                "gates_came": Out(1),
                "token": Out(1),
                "first": Out(24),
                "gains_kept": Out(1),
                "gates_kept": Out(1),
                "stopped": Out(1),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        head = data.View(HEADER, self.i.payload[:HEADER_BITS])
        left = Signal(32)  # units of the payload behind this one
        address = Signal(24)
        half, low = Signal(), Signal(HEADER_BITS)
        kept = Signal(2)
        narrow = self.unit < INSTRUCTION_BITS
        taken, final = Signal(), Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            final.eq(left == 0),
            self.weights.payload.eq(self.i.payload),
            self.written.address.eq(address),
            self.written.data.eq(self.i.payload),
            self.first.eq(address),
            Cat(self.gains_kept, self.gates_kept).eq(kept),
            self.instructions.payload.eq(
                Cat(low, self.i.payload) if narrow else self.i.payload[:INSTRUCTION_BITS]
            ),
        ]

        def follow(state: str) -> None:
            """To the payload's state, or on to the next header where there is none."""
            m.next = "HEADER"
            with m.If(head.units != 0):
                m.next = state

        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [left.eq(head.units - 1), address.eq(head.address)]
                m.d.sync += kept.eq(Cat(head.gains, head.gates))
                with m.If(self.i.valid), m.Switch(head.kind):
                    with m.Case(Kind.WEIGHTS):
                        follow("WEIGHTS")
                    with m.Case(Kind.GAINS):
                        follow("GAINS")
                    with m.Case(Kind.GATES):
                        follow("GATES")
                    with m.Case(Kind.INSTRUCTIONS):
                        follow("INSTRUCTIONS")
                    with m.Case(Kind.MODEL):
                        follow("SKIP")
                    with m.Case(Kind.TOKEN):
                        m.next = "TOKEN"
                    with m.Case(Kind.STOP):
                        m.next = "STOPPED"
                    with m.Default():
                        m.next = "FAULT"
            with m.State("WEIGHTS"):
                m.d.comb += [
                    self.weights.valid.eq(self.i.valid),
                    self.i.ready.eq(self.weights.ready),
                ]
                self._count(m, taken, final, left)
            for name, room, came, gates in (
                ("GAINS", self.gains_room, self.gains_came, 0),
                ("GATES", self.gates_room, self.gates_came, 1),
            ):
                begun = Signal(name=f"{name.lower()}_begun")
                with m.State(name):
                    m.d.comb += [
                        self.i.ready.eq(begun | room | self.resident),
                        self.write.eq(taken),
                        self.written.gates.eq(gates),
                        came.eq(taken & final & ~self.resident),
                    ]
                    with m.If(taken):
                        m.d.sync += [begun.eq(~final), address.eq(address + 1)]
                    self._count(m, taken, final, left)
            with m.State("INSTRUCTIONS"):
                m.d.comb += [
                    self.instructions.valid.eq(self.i.valid & (half if narrow else 1)),
                    self.i.ready.eq(self.instructions.ready | (~half if narrow else 0)),
                ]
                if narrow:
                    with m.If(taken):
                        m.d.sync += [half.eq(~half), low.eq(self.i.payload)]
                self._count(m, taken, final, left)
            with m.State("SKIP"):
                m.d.comb += self.i.ready.eq(1)
                self._count(m, taken, final, left)
            with m.State("TOKEN"):
                m.d.comb += self.token.eq(1)
                m.next = "STOPPED"
            with m.State("STOPPED"):
                m.d.comb += self.stopped.eq(1)
            with m.State("FAULT"):
                m.d.comb += self.fault.eq(1)
        return m

    @staticmethod
    def _count(m: Module, taken: Signal, final: Signal, left: Signal) -> None:
        """A unit less; behind the last one comes a header."""
        with m.If(taken):
            m.d.sync += left.eq(left - 1)
            with m.If(final):
                m.next = "HEADER"
