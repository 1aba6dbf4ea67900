"""Reads rows of an external memory beside its stream: embedding rows, one token's at a time."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.memory.controllers.port import read_request
from setun.hw.memory.controllers.queue import CreditQueue

CACHE_COUNT_BITS = 24  # of the beats of a row of a cache


def row_command(address_bits: int, count_bits: int = 16) -> data.StructLayout:
    """A row of `beats` (at least 1, of `count_bits` bits) beats from beat `address` on."""
    return data.StructLayout({"address": address_bits, "beats": count_bits})


class RowReader(wiring.Component):
    """Rows by burst, one row after the other.

    Parameters
    ----------
    beat
        Bits of a beat.
    address_bits
        Of a beat's number in the memory.
    burst
        Beats of a request at most, a power of two; none crosses a multiple of it.
    depth
        Beats that may be on their way, a power of two; 0 for two bursts.
    count_bits
        Of a row's beats.

    Members
    -------
    command : In(stream of `row_command`)
        Rows to read, in order; taken when all of the row is asked for.
    restart : In(1)
        Forget the row under way: its beats that are still to come are dropped.
    hold : In(1), quiet : Out(1)
        Somebody else wants the memory: no request begins; none is on its way.
    read : Out(stream of `read_request`), i : In(stream of `beat` bits)
        To `read` and `o` of a controller. A request is made when its beats have room here, so
        `i.ready` is always high.
    o : Out(stream of `beat` bits)
        Beats of all rows, in order.

    Throughput: `depth` beats in the latency of the memory. Latency: 1 cycle from the command to the
    request, 2 from a beat to `o`.
    """

    def __init__(
        self, beat: int, address_bits: int, burst: int, depth: int = 0, count_bits: int = 16
    ) -> None:
        if burst & (burst - 1):
            raise ValueError(f"burst must be a power of two: {burst}")
        self.burst, self.depth, self.count_bits = burst, depth or 2 * burst, count_bits
        self.queue = CreditQueue(beat, self.depth)
        super().__init__(
            {
                "command": In(stream.Signature(row_command(address_bits, count_bits))),
                "restart": In(1),
                "hold": In(1),
                "quiet": Out(1),
                "read": Out(stream.Signature(read_request(address_bits))),
                "i": In(stream.Signature(beat)),
                "o": Out(stream.Signature(beat)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = ResetInserter(self.restart)(self.queue)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        command, request = self.command.payload, self.read.payload
        done = Signal(self.count_bits)  # beats of the row asked for
        room = Signal(range(self.depth + 1), init=self.depth)
        pending, stale = Signal.like(room, init=0), Signal.like(room, init=0)
        arrives = Signal()
        at = Signal.like(command.address)
        beats, to_boundary = Signal(range(self.burst + 1)), Signal(range(self.burst + 1))
        left = Signal(self.count_bits)
        waits, issue = Signal(), Signal()
        m.d.comb += [
            at.eq(command.address + done),
            left.eq(command.beats - done),
            to_boundary.eq(self.burst - at[: self.burst.bit_length() - 1]),
            beats.eq(Mux(left < to_boundary, left, to_boundary)),
            waits.eq(self.read.valid & ~self.read.ready),
            # What was forgotten is on its way without room here.
            issue.eq(
                self.command.valid
                & ~waits
                & ~self.hold
                & ~self.restart
                & (room >= self.burst)
                & (pending <= self.depth - self.burst)
            ),
            arrives.eq(self.i.valid & (stale == 0)),
            self.i.ready.eq(1),
            queue.i.payload.eq(self.i.payload),
            queue.i.valid.eq(arrives),
            self.command.ready.eq(issue & (left <= to_boundary)),
            self.quiet.eq((pending == 0) & ~self.read.valid),
        ]
        with m.If(~waits):
            m.d.sync += self.read.valid.eq(issue)
        with m.If(issue):
            m.d.sync += [
                request.address.eq(at),
                request.beats.eq(beats),
                done.eq(Mux(self.command.ready, 0, done + beats)),
            ]
        asked = Mux(issue, beats, 0)
        m.d.sync += [
            room.eq(room - asked + (self.o.valid & self.o.ready)),
            pending.eq(pending + asked - self.i.valid),
        ]
        with m.If(self.restart):
            m.d.sync += [done.eq(0), room.eq(self.depth), stale.eq(pending - self.i.valid)]
        with m.Elif(self.i.valid & ~arrives):
            m.d.sync += stale.eq(stale - 1)
        return m
