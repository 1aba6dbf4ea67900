"""Keys scored and values weighed position by position, and sums put out, for groups of queries."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.hw.attention.cache import LATENCY, WEIGHING
from setun.hw.attention.dots import Dots
from setun.hw.attention.sizes import parts_of, position_shape
from setun.hw.attention.softmax import Softmax
from setun.hw.instruction import shape
from setun.hw.seats import number


class PositionWalk(wiring.Component):
    """Walks over the cache for one group of queries after the other.

    Members
    -------
    offered, coded, accepted, used
        Of `setun.hw.attention.head_walk.HeadWalk`: a group comes, its codes are there; strobes,
        it is taken over, its codes are not needed any more.
    next_seat, next_head, next_first, queries : In
        Of the group that is offered; `queries` once it is coded.
    own : In
        Position of `seat`'s token.
    parts : In, distance : In
        Cache words, and vector words, of a head.
    ready : In(1)
        Of the cache: an issue may be made.
    seat, head : Out
        Whose cache is read, first cache word of its head of keys.
    ask : Out(1)
        Strobe: all positions of that head will be read.
    score, weigh : Out(1), part, position : Out
        Issues: word after word of a key, key after key; then one word of all values, and the next.
    ended : Out(1), final : Out(1)
        Strobe: sums and totals are complete; there will be no more of this group.
    emit : Out(1), out_seat, out_query, out_word, out_at : Out
        A word of a query's sums is to be put out, and at which vector word.
    resting : Out(1)
        Nothing is under way but what `emit` has begun.

    `scored` are cycles from a score's issue to the largest. Sums are put out while the next group's
    keys are scored.
    """

    def __init__(self, config: ChipConfig, scored: int) -> None:
        self.config, self.scored = config, scored
        c = config
        part, place, seat = range(parts_of(c) + 1), position_shape(c), number(c.contexts)
        head, at = range(c.cache_words + 1), shape(c, "n")
        query, word = range(c.queries + 1), range(max(2, c.attention // c.lanes))
        strobes = ("accepted", "used", "ask", "score", "weigh", "ended", "final", "emit", "resting")
        super().__init__(
            {
                "offered": In(1),
                "coded": In(1),
                "next_seat": In(seat),
                "next_head": In(head),
                "next_first": In(at),
                "queries": In(query),
                "own": In(place),
                "parts": In(part),
                "distance": In(range(c.head_elements + 1)),
                "ready": In(1),
                "seat": Out(seat),
                "head": Out(head),
                "part": Out(part),
                "position": Out(place),
                "out_seat": Out(seat),
                "out_query": Out(query),
                "out_word": Out(word),
                "out_at": Out(at),
                **dict.fromkeys(strobes, Out(1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        gap = WEIGHING - LATENCY - 1  # what is weighed comes later than what is scored
        wait = Signal(range(max(self.scored, gap) + 1))
        first, queries = Signal.like(self.next_first), Signal.like(self.queries)
        last_part, last_position, emitting = (
            Signal(name=n) for n in ("last_part", "last_position", "emitting")
        )
        weighed = Signal()  # strobe: the last word of sums is issued
        m.d.comb += [
            last_part.eq(self.part == self.parts - 1),
            last_position.eq(self.position == self.own),
        ]
        m.d.sync += self.ask.eq(self.accepted)
        with m.FSM() as walk:
            with m.State("IDLE"):
                with m.If(wait != 0):
                    m.d.sync += wait.eq(wait - 1)
                with m.If(self.offered):
                    m.d.comb += self.accepted.eq(1)
                    m.d.sync += [
                        self.seat.eq(self.next_seat),
                        self.head.eq(self.next_head),
                        first.eq(self.next_first),
                    ]
                    m.next = "CODES"
            with m.State("CODES"):
                m.d.sync += [self.position.eq(0), self.part.eq(0), queries.eq(self.queries)]
                with m.If(wait != 0):
                    m.d.sync += wait.eq(wait - 1)
                with m.Elif(self.coded):
                    m.next = "SCORE"
            with m.State("SCORE"), m.If(self.ready):
                m.d.comb += self.score.eq(1)
                m.d.sync += self.part.eq(self.part + 1)
                with m.If(last_part):
                    m.d.sync += [self.part.eq(0), self.position.eq(self.position + 1)]
                    with m.If(last_position):
                        m.d.sync += [self.position.eq(0), wait.eq(self.scored)]
                        m.next = "SCORED"
            with m.State("SCORED"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 1):
                    m.d.comb += self.used.eq(1)
                    m.next = "WEIGH"
            with m.State("WEIGH"), m.If(self.ready & ~emitting):
                m.d.comb += self.weigh.eq(1)
                m.d.sync += self.position.eq(self.position + 1)
                with m.If(last_position):
                    m.d.comb += weighed.eq(1)
                    m.d.sync += [self.position.eq(0), self.part.eq(self.part + 1)]
                    with m.If(last_part):
                        m.d.sync += wait.eq(gap)
                        m.next = "IDLE"

        # Sums, once the last words have come through, query by query.
        late = Softmax.term_latency + Dots.sum_latency
        through = Signal(range(late + 1))
        words = c.attention // c.lanes
        left = Signal.like(self.queries)
        closes = Signal()
        m.d.comb += self.final.eq(closes)
        with m.FSM() as out:
            with m.State("IDLE"), m.If(weighed):
                m.d.sync += [
                    through.eq(late),
                    closes.eq(last_part),
                    self.out_seat.eq(self.seat),
                    self.out_at.eq(first + self.part * words),
                    self.out_query.eq(0),
                    self.out_word.eq(0),
                    left.eq(queries),
                ]
                m.next = "THROUGH"
            with m.State("THROUGH"):
                m.d.sync += through.eq(through - 1)
                with m.If(through == 1):
                    m.d.comb += self.ended.eq(1)
                    m.next = "OUT"
            with m.State("OUT"):
                m.d.comb += self.emit.eq(1)
                m.d.sync += [self.out_word.eq(self.out_word + 1), self.out_at.eq(self.out_at + 1)]
                with m.If(self.out_word == words - 1):
                    m.d.sync += [
                        self.out_word.eq(0),
                        self.out_query.eq(self.out_query + 1),
                        self.out_at.eq(self.out_at + self.distance - (words - 1)),
                        left.eq(left - 1),
                    ]
                    with m.If(left == 1):
                        m.next = "IDLE"
        m.d.comb += [
            emitting.eq(~out.ongoing("IDLE")),
            self.resting.eq(walk.ongoing("IDLE") & ~emitting & ~self.offered),
        ]
        return m
