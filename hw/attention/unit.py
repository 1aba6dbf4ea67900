"""The unit of attention: heads normed, turned, cached, attended to, one command after the other."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.firmware.program.isa import Op
from setun.hw.attention.cache import LATENCY, WEIGHING, BlockCache
from setun.hw.attention.coder import HeadCoder
from setun.hw.attention.dots import Dots
from setun.hw.attention.norm import HeadNorm
from setun.hw.attention.outer import OuterCache
from setun.hw.attention.outputs import Outputs
from setun.hw.attention.positions import Positions
from setun.hw.attention.queries import coded_queries
from setun.hw.attention.rotator import Rotator
from setun.hw.attention.sizes import parts_of
from setun.hw.attention.softmax import Softmax
from setun.hw.attention.turns import Turns
from setun.hw.commands import CONSTANT_WORDS, attention_command
from setun.hw.instruction import shape
from setun.hw.pipeline import delayed
from setun.hw.seats import number, pass_layout, within, workspaces

READ = 2  # cycles from an address of vector memory to the word in a register


class Attention(wiring.Component):
    """Heads of vectors normed, turned, stored as codes, and attended to, all in place.

    Members
    -------
    begin : In(1)
        Strobe: a pass has begun; `seating` is that of its body.
    command : In(stream)
        See `setun.hw.commands.attention_command`; accepted when all is written.
    seating : In
        Who sits where; see `setun.hw.seats.pass_layout`.
    vector_address : Out, vector_data : In, constant_address : Out, constant_data : In
        Read ports, data one cycle later.
    eps : In(fmt.width)
        With `config.head_norms` alone: the norms' epsilon.
    write : Out(1), vector_write : Out, write_data : Out
        Write port of vector memory.
    busy : Out(1)

    The others are the cache's, towards its memory: `BlockCache`, `OuterCache`.

    A command takes for each seat: ROTATE n/V cycles, the first of a pass d more for the turns;
    CACHE for each head 2 * d/V and about 10; NORM 3 * d/V and about 15; ATTEND for each of the
    queries' groups of G what CACHE takes and, at T positions with d/C words a head, 2 * T * d/C
    and about 40.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.cache: Any = OuterCache(config) if config.outer_cache else BlockCache(config)
        w, v = config.vector.width, config.lanes
        super().__init__(
            {
                "begin": In(1),
                "command": In(stream.Signature(attention_command(config))),
                "seating": In(pass_layout(config)),
                "vector_address": Out(shape(config, "src")),
                "vector_data": In(data.ArrayLayout(w, v)),
                "constant_address": Out(CONSTANT_WORDS),
                "constant_data": In(data.ArrayLayout(w, 2 * v)),
                "write": Out(1),
                "vector_write": Out(shape(config, "src")),
                "write_data": Out(data.ArrayLayout(w, v)),
                "busy": Out(1),
                **({"eps": In(w)} if config.head_norms else {}),
                **self.cache.outer,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, v = self.config, self.config.lanes
        command, last = self.command.payload, self.seating.last
        m.submodules.positions = positions = Positions(c)
        m.submodules.turns = turns = Turns(c)
        m.submodules.rotator = rotator = Rotator(c)
        m.submodules.coder = coder = HeadCoder(c)
        m.submodules.cache = cache = self.cache
        m.submodules.dots = dots = Dots(c)
        m.submodules.softmax = softmax = Softmax(c, dots.dot_bits)
        m.submodules.outputs = outputs = Outputs(c)

        seat = Signal(number(c.contexts))
        who = self.seating.seats[seat]
        own = positions.o[seat]
        base = Signal(shape(c, "n"))  # vector word of a head
        word = Signal(range(c.head_elements + 1))  # of the head
        half = Signal()
        at_head = Signal(range(c.cache_words + 1))  # cache word of a head of keys
        made = Signal(range(parts_of(c) + 1))  # words of codes of the head
        query = Signal(range(c.queries + 1))  # of those that are coded
        left = Signal(shape(c, "group"))  # queries of the head of keys
        first = Signal(shape(c, "n"))  # vector word of the first of the coded queries
        position, part = Signal.like(own), Signal(range(parts_of(c) + 1))
        out_query, out_word = Signal.like(query), Signal(range(max(2, c.attention // v)))
        head = Signal(shape(c, "n"))  # vector word of a query that is put out
        wait, turned, attends = Signal(range(64)), Signal(), Signal()
        names = ("look", "make", "rotate", "score", "weigh", "emit", "gain", "scale")
        look, make, rotate, score, weigh, emit, gain, scale = (Signal(name=n) for n in names)
        seats_left = seat != last
        for name, member in cache.outer.items():
            mine, theirs = getattr(self, name), getattr(cache, name)
            if member.is_signature:
                wiring.connect(m, wiring.flipped(mine), theirs)
            else:
                m.d.comb += mine.eq(theirs) if member.flow is Out else theirs.eq(mine)
        last_word = word == command.head - 1
        last_position, last_part = position == own, part == command.parts - 1
        next_base = Signal.like(base)
        m.d.comb += [next_base.eq(base + command.head), attends.eq(command.op == Op.ATTEND)]
        m.d.comb += self.busy.eq(self.command.valid)
        heads_left = next_base != command.words
        with m.If(self.begin):
            m.d.sync += turned.eq(0)

        def seat_begins() -> None:
            m.d.sync += [base.eq(0), first.eq(0), at_head.eq(0), left.eq(command.group)]
            m.d.sync += [word.eq(0), half.eq(0), query.eq(0)]

        def seat_ends(then: str) -> None:
            seat_begins()
            m.d.sync += seat.eq(seat + 1)
            m.next = then
            with m.If(~seats_left):
                m.d.sync += wait.eq(outputs.latency)
                m.next = "DRAIN"

        with m.FSM():
            with m.State("IDLE"):
                seat_begins()
                m.d.sync += seat.eq(0)
                with m.If(self.command.valid):
                    with m.Switch(command.op):
                        with m.Case(Op.ROTATE):
                            m.next = "ROTATE"
                            with m.If(~turned):
                                m.d.comb += turns.start.eq(1)
                                m.next = "TURN"
                        with m.Default():
                            m.next = "LOOK"
            with m.State("TURN"), m.If(~turns.busy):
                m.d.sync += turned.eq(1)
                m.next = "ROTATE"
            # Words of either half of a head in turn.
            with m.State("ROTATE"):
                m.d.comb += rotate.eq(1)
                m.d.sync += half.eq(~half)
                with m.If(half):
                    m.d.sync += word.eq(word + 1)
                    with m.If(word == (command.head >> 1) - 1):
                        m.d.sync += [word.eq(0), base.eq(next_base)]
                        with m.If(~heads_left):
                            seat_ends("ROTATE")
            with m.State("LOOK"):
                m.d.comb += look.eq(1)
                m.d.sync += [word.eq(word + 1), made.eq(0)]
                with m.If(last_word):
                    m.d.sync += [word.eq(0), wait.eq(coder.looked)]
                    m.next = "LOOKED"
            with m.State("LOOKED"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 1):
                    m.next = "MAKE"
                    if c.head_norms:
                        with m.If(command.op == Op.NORM):
                            m.next = "GAIN"
            if c.head_norms:
                m.submodules.norm = norm = HeadNorm(c)
                # Squares and products with the gains; then those products times the root.
                with m.State("GAIN"):
                    m.d.comb += gain.eq(1)
                    m.d.sync += word.eq(word + 1)
                    with m.If(last_word):
                        m.d.sync += [word.eq(0), wait.eq(norm.latency - 1)]
                        m.next = "ROOT"
                with m.State("ROOT"):
                    m.d.sync += wait.eq(wait - 1)
                    with m.If(wait == 1):
                        m.next = "SCALE"
                with m.State("SCALE"):
                    m.d.comb += scale.eq(1)
                    m.d.sync += word.eq(word + 1)
                    with m.If(last_word):
                        m.d.sync += [word.eq(0), base.eq(next_base)]
                        m.next = "LOOK"
                        with m.If(~heads_left):
                            seat_ends("LOOK")
            with m.State("MAKE"):
                m.d.comb += make.eq(1)
                m.d.sync += word.eq(word + 1)
                with m.If(last_word):
                    m.d.sync += [word.eq(0), wait.eq(READ + coder.latency)]
                    m.next = "MADE"
            with m.State("MADE"):
                with m.If(wait != 1):
                    m.d.sync += wait.eq(wait - 1)
                with m.Elif(cache.settled):
                    m.d.sync += base.eq(next_base)
                    m.next = "LOOK"
                    with m.If(attends):
                        m.d.sync += [query.eq(query + 1), left.eq(left - 1)]
                        with m.If((query == c.queries - 1) | (left == 1)):
                            m.d.sync += [position.eq(0), part.eq(0)]
                            m.d.comb += softmax.clear.eq(1)
                            m.next = "SCORE"
                    with m.Else():
                        m.d.sync += at_head.eq(at_head + command.parts)
                        with m.If(~heads_left):
                            seat_ends("LOOK")
            # Word after word of a key, key after key.
            with m.State("SCORE"), m.If(cache.ready):
                m.d.comb += score.eq(1)
                m.d.sync += part.eq(part + 1)
                with m.If(last_part):
                    m.d.sync += [part.eq(0), position.eq(position + 1)]
                    with m.If(last_position):
                        m.d.sync += position.eq(0)
                        m.d.sync += wait.eq(LATENCY + dots.latency + softmax.score_latency)
                        m.next = "SCORED"
            with m.State("SCORED"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 1):
                    m.next = "WEIGH"
            # One word of all values, then the next one.
            with m.State("WEIGH"), m.If(cache.ready):
                m.d.comb += weigh.eq(1)
                m.d.sync += position.eq(position + 1)
                with m.If(last_position):
                    m.d.sync += position.eq(0)
                    m.d.sync += wait.eq(softmax.term_latency + dots.sum_latency)
                    m.next = "WEIGHED"
            with m.State("WEIGHED"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 1):
                    m.d.sync += [out_query.eq(0), out_word.eq(0), head.eq(first)]
                    m.next = "OUT"
            with m.State("OUT"):
                m.d.comb += emit.eq(1)
                m.d.sync += out_word.eq(out_word + 1)
                with m.If(out_word == c.attention // v - 1):
                    m.d.sync += [out_word.eq(0), out_query.eq(out_query + 1)]
                    m.d.sync += head.eq(head + command.head)
                    with m.If(out_query == query - 1):
                        m.d.sync += part.eq(part + 1)
                        m.next = "WEIGH"
                        with m.If(last_part):
                            m.d.sync += [part.eq(0), query.eq(0), first.eq(base)]
                            m.next = "LOOK"
                            with m.If(left == 0):
                                m.d.sync += left.eq(command.group)
                                m.d.sync += at_head.eq(at_head + command.parts)
                            with m.If(base == command.words):
                                seat_ends("LOOK")
            with m.State("DRAIN"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 1):
                    m.d.comb += self.command.ready.eq(1)
                    m.next = "IDLE"

        # Vector memory's words to the rotator and the coder.
        local = Signal(shape(c, "n"))
        m.d.comb += [
            self.vector_address.eq(self._address(local, who.workspace)),
            local.eq(base + word + Mux(rotate & half, command.head >> 1, 0)),
            turns.word.eq(word),
            turns.seat.eq(seat),
            turns.seating.eq(self.seating),
            turns.first.eq(command.constants),
            turns.pairs.eq((command.head >> 1) << ceil_log2(v)),
            self.constant_address.eq(Mux(gain, command.constants + word, turns.constant_address)),
            turns.constant_data.eq(self.constant_data),
            positions.begin.eq(self.begin),
            positions.seating.eq(self.seating),
        ]
        x = delayed(m, self.vector_data.as_value(), 1, "x")
        flags = Cat(rotate, half, look, make, word == 0)
        turning, second, looking, making, opens = delayed(m, flags, READ, "read", reset=True)
        m.d.comb += [
            rotator.x.as_value().eq(x),
            rotator.second.eq(second),
            rotator.cosine.as_value().eq(delayed(m, turns.cosines.as_value(), 1, "cosine")),
            rotator.sine.as_value().eq(delayed(m, turns.sines.as_value(), 1, "sine")),
            coder.x.as_value().eq(x),
            coder.look.eq(looking),
            coder.make.eq(making),
            coder.opens.eq(opens),
        ]

        # Codes to the queries; those of a head that is cached lie there until they are stored.
        with m.If(coder.done):
            m.d.sync += made.eq(made + 1)
        of_queries = Array(Signal(c.vector.exponent, name=f"of_query{g}") for g in range(c.queries))
        with m.If(coder.done & attends):
            m.d.sync += of_queries[query].eq(coder.exponent)
        m.d.comb += [
            cache.context.eq(who.context),
            cache.own.eq(own),
            cache.parts.eq(command.parts),
            cache.keyed.eq(command.keys + at_head),
            cache.valued.eq(command.values + at_head),
            cache.store.eq(coder.done & ~attends),
            cache.stored_word.eq(command.keys + at_head),
            cache.stored_part.eq(made),
            cache.stored_codes.eq(coder.codes.as_value()),
            cache.stored_exponent.eq(coder.exponent),
            cache.values.eq(command.of_values),
            cache.ask.eq(look & (word == 0) & (query == 0) & attends),
            cache.score.eq(score),
            cache.weigh.eq(weigh),
            cache.part.eq(part),
            cache.position.eq(position),
            softmax.query_exponents.as_value().eq(Cat(*of_queries)),
        ]
        kept = coded_queries(m, c, coder.done & attends, query, made, coder.codes.as_value(), part)
        m.d.comb += dots.queries.as_value().eq(kept)

        # Scores.
        scored = LATENCY + dots.latency
        issued = delayed(m, Cat(score, part == 0), LATENCY, "issued", reset=True)
        m.d.comb += [
            dots.codes.as_value().eq(cache.codes),
            dots.scoring.eq(issued[0]),
            dots.opens.eq(issued[1]),
            softmax.dots.eq(dots.dots),
            softmax.key_exponent.eq(delayed(m, cache.key_exponent, dots.latency, "of_key")),
            softmax.value_exponent.eq(delayed(m, cache.value_exponent, dots.latency, "of_value")),
            softmax.scored.eq(delayed(m, score & last_part, scored, "scored", reset=True)),
            softmax.position.eq(delayed(m, position, scored, "scored_position")),
        ]
        # Weighted sums.
        assert softmax.term_latency == WEIGHING
        weighed = delayed(m, Cat(weigh, position == 0), WEIGHING, "weighed", reset=True)
        m.d.comb += [
            softmax.read.eq(weigh),
            softmax.read_position.eq(position),
            softmax.counts.eq(part == 0),
            softmax.of_value.eq(cache.value_exponent),
            dots.terms.eq(softmax.terms),
            dots.adds.eq(weighed[0]),
            dots.begins.eq(weighed[1]),
        ]

        # Outputs.
        m.d.comb += [
            outputs.sums.eq(dots.sums),
            outputs.totals.eq(softmax.totals),
            outputs.units.eq(softmax.units),
            outputs.query.eq(out_query),
            outputs.word.eq(out_word),
        ]
        local_out = Signal(shape(c, "n"))
        m.d.comb += local_out.eq(head + part * (c.attention // v) + out_word)
        put = delayed(m, self._address(local_out, who.workspace), outputs.latency, "put")
        turned_at = delayed(m, self.vector_address, READ + rotator.latency, "turned_at")
        emitted = delayed(m, emit, outputs.latency, "emitted", reset=True)
        rotated = delayed(m, turning, rotator.latency, "rotated", reset=True)
        m.d.comb += [
            self.write.eq(emitted | rotated),
            self.vector_write.eq(Mux(emitted, put, turned_at)),
            self.write_data.as_value().eq(Mux(emitted, outputs.o.as_value(), rotator.o.as_value())),
        ]
        if c.head_norms:
            gaining, scaling = delayed(m, Cat(gain, scale), READ, "normed", reset=True)
            behind = READ + outputs.direct_latency
            normed = delayed(m, gain | scale, behind, "scaled", reset=True)
            scaled_at = delayed(m, self.vector_address, behind, "scaled_at")
            gains = delayed(m, Cat(self.constant_data[k] for k in range(v, 2 * v)), 1, "gains")
            m.d.comb += [
                norm.x.as_value().eq(x),
                norm.valid.eq(gaining),
                norm.opens.eq(opens),
                norm.exponent.eq(coder.exponent),
                norm.eps.eq(self.eps),
                outputs.direct.eq(gaining | scaling),
                outputs.x.as_value().eq(x),
                outputs.factors.as_value().eq(Mux(scaling, norm.root.replicate(v), gains)),
            ]
            with m.If(normed):
                m.d.comb += [
                    self.write.eq(1),
                    self.vector_write.eq(scaled_at),
                    self.write_data.eq(outputs.o),
                ]
        return m

    def _address(self, word: Value, workspace: Value) -> Value:
        """Of a word of the command's vector in vector memory."""
        c, command = self.config, self.command.payload
        return within(command.source + word, c.vector_words, workspace, workspaces(c))
