"""Cycles of a token: the program run through a schedule of sequencer, quantiser, array and sink.

The schedule keeps one time a unit and walks the program once. Every number that is added is a
latency of the unit's RTL, which its docstring or its code tells; nothing is fitted but what an
SDRAM loses to a refresh.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from setun.estimate.attention import attend_cycles, cache_cycles, norm_cycles, rotate_cycles
from setun.estimate.memories import memory_estimate
from setun.estimate.supply import Supply
from setun.firmware.config import SLOTS, ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import weight_share
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.numerics.five_trits import PLANES
from setun.firmware.program import machine
from setun.firmware.program.isa import Instruction
from setun.firmware.program.machine import Step
from setun.hw.array.array import GROUPS
from setun.hw.array.rows import rows_latency
from setun.hw.array.weights import lead
from setun.hw.pipeline import tree_latency
from setun.hw.vector.codes import code_latency
from setun.hw.vector.kernel import kernel_latency
from setun.hw.vector.quantiser import AHEAD, VECTORS
from setun.hw.vector.sink import Sink

FETCH, STREAMED = 6, 2  # cycles from one instruction to the next at best
QUEUE = 2  # cycles through a queue of commands
ARRAY_QUEUE = 4
SCALE = 16  # cycles of the scale unit
FOREVER = 1 << 60
POSITION = 127  # of the token that is looked at, where a chip attends to those before it


@dataclass(frozen=True)
class Span:
    """What a unit does from cycle `start` to `end` for one seat: `work` names the tensor."""

    unit: str
    work: str
    seat: int
    start: int
    end: int


@dataclass
class _Quantised:
    """What later commands need to know of a QUANTISE."""

    start: int
    stream: bool
    words: int
    mean_square: MeanSquare
    begins: list[int] = field(default_factory=list)  # of the codes of each seat
    scales: list[int] = field(default_factory=list)  # each seat's scale is there
    released: int = FOREVER


class Schedule(machine.Visitor):
    """One pass of `seats` tokens over a program, after which `cycles` are gone.

    Parameters
    ----------
    image
        The model; only its program and the shapes of its matrices count.
    config
        The chip.
    seats
        Tokens of the pass, each of a context of its own.
    position
        Tokens before it in its context, which only attention asks for; at most those that the
        chip has room for.

    Members
    -------
    spans
        What each unit did in the latest run, in the order of the program.
    """

    def __init__(
        self, image: Image, config: ChipConfig, seats: int, position: int = POSITION
    ) -> None:
        c = self.config = config
        self.image, self.seats = image, seats
        self.held = [1 + min(position, c.positions - 1)] * seats
        self.lead = lead(c)
        self.tree = tree_latency(c.lanes)
        self.to_codes = 4 + code_latency(c.numerics) - max(self.lead - 1, 0)
        self.to_groups = self.lead + int(c.numerics.fp8) + rows_latency(c) + 2
        if c.numerics.accumulate:
            self.to_groups += 2
        self.exits = {k: Sink.convert_latency + n for k, n in kernel_latency(c.numerics).items()}
        self.body, self.head = machine.body_and_head(image)

    def run(self) -> int:
        """Cycles from one pass to the next, when every stream goes on."""
        memory = memory_estimate(self.config)
        self.supply: Supply = memory.supply(self.config, weight_share(self.image, self.config))
        self.fetch = STREAMED if self.config.streams else FETCH
        self.execute = self.executed = 0
        self.quantised: list[_Quantised] = []
        self.spans: list[Span] = []
        self.first_pass_ends = [0]
        self.array_loads: list[int] = []
        self.sink_ends: list[int] = []
        self.array_free = self.sink_idle = self.sink_free = 0
        self.making = self.scaled = 0
        self.stored = [0] * self.seats  # each seat's last word is announced
        self.settled = [0] * self.seats
        self.taken: deque[int] = deque([0] * GROUPS, GROUPS)
        self.kept = False
        self.logits = 0
        self.turned = False
        self.scale_times: deque[int] = deque([0] * VECTORS, VECTORS)

        # The first instruction is the first of what a memory outside gives.
        self.execute = (memory.first if self.config.streams else self.fetch) + 1
        machine.walk(self, self.body)
        # GATHER finds every token in its first round if all contexts have one.
        contexts = self.config.contexts
        self.execute += 2 + contexts + 1 + self.fetch + 1
        machine.walk(self, self.head)
        done = max(self.execute + 1, self.logits + self.config.lanes + 7)
        rounds = contexts if self.seats == contexts else 2 * contexts
        return done + 1 + rounds + 1

    def _next(self, accepted: int) -> None:
        self.execute = max(accepted + 2, self.execute + self.fetch)

    def model(self, step: Step) -> None:
        self._next(self.execute)

    def scalars(self, step: Step) -> None:
        self._next(self.execute)

    def embed(self, step: Step) -> None:
        bits = self.image.vocab_size.bit_length()
        done = self.execute
        for _ in range(self.seats):
            done += bits + 1
            if self.config.streams:
                done = memory_estimate(self.config).row(self.config, done, step.do.n)
            else:
                done += -(-step.do.n // self.config.lanes)
            done += 3
        self._next(done)

    def norm(self, step: Step) -> None:
        self._alone(step, norm_cycles(self.config, step.do, self.seats))

    def rotate(self, step: Step) -> None:
        first, self.turned = not self.turned, True
        self._alone(step, rotate_cycles(self.config, step.do, self.seats, first=first))

    def cache(self, step: Step) -> None:
        self._alone(step, cache_cycles(self.config, step.do, self.seats))

    def attend(self, step: Step) -> None:
        self._alone(step, attend_cycles(self.config, step.do, self.held))

    def _alone(self, step: Step, cycles: int) -> None:
        """The unit of attention's, when everything is stored; nothing begins before its end."""
        start = max([self.execute, *(end + 1 for end in self.sink_ends)])
        accepted = start + cycles - 1
        self.spans.append(Span("attention", step.do.note, 0, start, accepted))
        self._next(accepted)

    def end(self, step: Step) -> None:
        """Wait until everything is stored."""
        self.execute = max([self.execute, *(end + 2 for end in self.sink_ends)])

    def _begin(self, i: Instruction, accepted: int) -> _Quantised:
        """Its place in the quantiser, from when it may be listened for."""
        ends, before = self.first_pass_ends, self.quantised
        start = max(accepted + QUEUE, ends[-1] + 1)
        if len(before) >= AHEAD:
            two = before[-AHEAD]
            start = max(start, two.begins[-1] + two.words + 1)
        if len(before) >= SLOTS:
            start = max(start, before[-SLOTS].released + 2)
        return _Quantised(start, i.stream, -(-i.n // self.config.lanes), i.mean_square)

    def _accept(self, i: Instruction) -> int:
        accepted = self.execute
        if i.sync and self.sink_ends:
            accepted = max(accepted, max(self.sink_ends) + 1)
        if len(self.first_pass_ends) > 2:
            accepted = max(accepted, self.first_pass_ends[-2] + 1)
        return accepted

    def quantise(self, step: Step) -> None:
        """Both passes over each seat's vector, up to the scales."""
        i = step.do
        accepted = self._accept(i)
        q = self._begin(i, accepted)
        begun = self.quantised[-1].begins if self.quantised else [0] * self.seats
        looked = q.start
        for seat in range(self.seats):
            read = max(looked, begun[seat]) + q.words
            from_word = q.start if i.stream else read - q.words
            looked = self.stored[seat] if i.stream else read
            self.spans.append(Span("maxima", i.note, seat, from_word, looked))
            begin = max(looked + 5 + self.tree, self.making, self.scale_times[0] + 1)
            self.making = begin + q.words + 1
            q.begins.append(begin)
            self.spans.append(Span("codes", i.note, seat, begin, begin + q.words))
            ready = begin + q.words + 6 + self.tree
            if i.mean_square is MeanSquare.ARRAY:
                ready = max(ready, self.settled[seat])
            self.scaled = max(self.scaled + 1, ready) + SCALE
            self.scale_times.append(self.scaled)
            self.spans.append(Span("scale", i.note, seat, self.scaled - SCALE, self.scaled))
            q.scales.append(self.scaled + 1)
        self.first_pass_ends.append(looked)
        self.quantised.append(q)
        self._next(accepted)

    def _dispatch(self) -> int:
        accepted = self.execute
        for times in (self.array_loads, self.sink_ends):
            if len(times) >= ARRAY_QUEUE:
                accepted = max(accepted, times[-ARRAY_QUEUE] + 1)
        return accepted

    def matvec(self, step: Step) -> None:
        """A matrix's words through the array, its row groups through the sink."""
        assert step.matrix is not None
        c, seats, i = self.config, self.seats, step.do
        accepted = self._dispatch()
        q = next(each for each in self.quantised if each.released == FOREVER)
        groups, blocks = -(-i.n // c.rows), -(-step.matrix.columns // c.columns)
        load = max(accepted + QUEUE, self.array_free, q.start + 1)
        self.array_loads.append(load)
        arrives = accepted + QUEUE
        listening = 0
        if i.feeds and step.following:
            # The QUANTISE behind it is accepted next; the sink waits until it listens.
            after = max(accepted + 2, self.execute + self.fetch)
            listening = self._begin(step.following, after).start + 1
        sink = _SinkPass(self, i, q, arrives, listening)
        ready = self._blocks(q, blocks)
        now = load + (1 if self.kept else 2)
        for seat_set in [range(seats)] if c.shares_weights else [[s] for s in range(seats)]:
            begins = now if self.kept else max(now, ready[seat_set[-1]][0])
            now = self._panels(now, seat_set, groups, blocks, ready, sink, bool(i.planes))
            self.spans += [Span("array", i.note, seat, begins, now) for seat in seat_set]
        self.array_free = now - 1
        self.kept = i.keep
        if not i.keep:
            q.released = now + self.lead
        sink.end()
        self._next(accepted)

    def _blocks(self, q: _Quantised, blocks: int) -> list[list[int]]:
        """When the array may begin each block of codes, seat by seat."""
        parts = self.config.columns // self.config.lanes
        return [
            [begin + self.to_codes + min((b + 1) * parts, q.words) - 1 for b in range(blocks)]
            for begin in q.begins
        ]

    def _panels(
        self,
        now: int,
        seats: Sequence[int],
        groups: int,
        blocks: int,
        ready: list[list[int]],
        sink: "_SinkPass",
        planes: bool,
    ) -> int:
        """Words of these seats from cycle `now` on; returns the cycle behind the last one.

        Where weights are planes, those of a row group are a panel, with a word of scales behind.
        """
        for first in range(0, groups, 1 if planes else self.config.panel):
            many = PLANES if planes else min(self.config.panel, groups - first)
            now = self._blocks_of(now, seats, many, blocks, ready, first == 0)
            for number in range(many):
                now = self._group(now, seats, sink, joins=planes and number < PLANES - 1)
            if planes:
                now = self.supply.take(now, 1, 1)
        return now

    def _blocks_of(
        self,
        now: int,
        seats: Sequence[int],
        many: int,
        blocks: int,
        ready: list[list[int]],
        opens: bool,
    ) -> int:
        """All blocks of a panel of `many` groups but the last, whose codes are then there."""
        each = len(seats)
        if opens and not self.kept:
            for begin in ready[seats[-1]][:-1]:
                now = self.supply.take(max(now, begin), many, each)
            return max(now, ready[seats[-1]][-1])
        return self.supply.take(now, many * (blocks - 1), each) if blocks > 1 else now

    def _group(self, now: int, seats: Sequence[int], sink: "_SinkPass", joins: bool = False) -> int:
        """The last word of a row group, for each of these seats."""
        now = self.supply.take(now, 1, 1) - 1
        for seat in seats:
            now = max(now, self.taken[0] + 2)
            there = now + self.to_groups
            self.taken.append(sink.joins(there) if joins else sink.group(seat, there))
            now += 1
        return now


class _SinkPass:
    """The sink's work on one matvec, row group by row group."""

    def __init__(
        self, s: Schedule, i: Instruction, q: _Quantised, arrives: int, listening: int
    ) -> None:
        self.s, self.i = s, i
        c = s.config
        self.words = -(-i.n // c.lanes)
        self.parts = c.rows // c.lanes
        self.pace = c.lanes if i.kernel.samples else 1
        self.done = [0] * s.seats  # words of each seat
        self.begun: dict[int, int] = {}  # each seat's first word
        self.scales = []
        head = max(arrives, s.sink_free + 1)
        for ready in q.scales:
            head = max(head, ready if not s.kept else head)
            self.scales.append(head + 3)
            head += 4
        self.now = max(s.sink_idle, listening)
        self.exits = s.exits[i.kernel]

    def group(self, seat: int, there: int) -> int:
        """Take a row group that is there from cycle `there`; returns when its place is free."""
        words = min(self.parts, self.words - self.done[seat])
        start = max(there, self.now, self.scales[seat])
        last = start + (words - 1) * self.pace
        self.now = last + self.pace
        self.begun.setdefault(seat, start)
        self.done[seat] += words
        if self.done[seat] == self.words:
            self.s.stored[seat] = last + self.exits - 1
            self.s.settled[seat] = last + 10 + self.s.tree
            stored = last + self.exits
            self.s.spans.append(Span("sink", self.i.note, seat, self.begun[seat], stored))
        self.last = last
        return last

    def joins(self, there: int) -> int:
        """Take a plane before the last one, which no lane sees; returns as `group` does."""
        start = max(there, self.now)
        self.now = start + self.parts
        return self.now - 1

    def end(self) -> None:
        s = self.s
        s.sink_ends.append(self.last + self.exits)
        s.sink_free = self.last
        s.sink_idle = self.last + self.exits + 1
        if self.i.kernel.samples:
            s.logits = self.last + self.exits


def cycles_per_token(
    image: Image, config: ChipConfig, streams: int, position: int = POSITION
) -> float:
    """Cycles from a stream's token to its next one over `streams`, all of which go on."""
    return Schedule(image, config, streams, position).run() / streams
