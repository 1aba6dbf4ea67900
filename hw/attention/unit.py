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
from setun.hw.attention.head_walk import READ, HeadWalk
from setun.hw.attention.norm import HeadNorm
from setun.hw.attention.outer import OuterCache
from setun.hw.attention.outputs import Outputs
from setun.hw.attention.position_walk import PositionWalk
from setun.hw.attention.positions import Positions
from setun.hw.attention.queries import coded_queries
from setun.hw.attention.rotator import Rotator
from setun.hw.attention.sizes import parts_of
from setun.hw.attention.softmax import Softmax
from setun.hw.attention.turns import Turns
from setun.hw.commands import CONSTANT_WORDS, attention_command
from setun.hw.instruction import shape
from setun.hw.pipeline import delayed
from setun.hw.seats import pass_layout, within, workspaces


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
    CACHE for each head 2 * d/V and about 10; NORM 3 * d/V and about 15; ATTEND at T positions with
    d/C words a head, for each of the queries' groups of G, 2 * T * d/C and about 25. Codes of a
    group's queries are made and its sums put out meanwhile. A command's end takes 10 to 20 more.
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
        command = self.command.payload
        m.submodules.positions = positions = Positions(c)
        m.submodules.turns = turns = Turns(c)
        m.submodules.rotator = rotator = Rotator(c)
        m.submodules.coder = coder = HeadCoder(c)
        m.submodules.cache = cache = self.cache
        m.submodules.dots = dots = Dots(c)
        m.submodules.softmax = softmax = Softmax(c, dots.dot_bits)
        m.submodules.outputs = outputs = Outputs(c)

        normed = 1
        if c.head_norms:
            m.submodules.norm = norm = HeadNorm(c)
            normed = norm.latency
        until_score = LATENCY + dots.latency
        m.submodules.heads = heads = HeadWalk(c, coder.looked, normed)
        m.submodules.walk = walk = PositionWalk(c, until_score + softmax.score_latency)
        wiring.connect(m, wiring.flipped(self.command), heads.command)
        attends = Signal()
        made = Signal(range(parts_of(c) + 1))  # words of codes of the head
        reader = self.seating.seats[heads.seat]
        look, make, rotate, half = heads.look, heads.make, heads.rotate, heads.half
        score, weigh, part, position = walk.score, walk.weigh, walk.part, walk.position
        cached = Mux(attends, walk.seat, heads.seat)
        at_head = Mux(attends, walk.head, heads.head)
        m.d.comb += [
            attends.eq(command.op == Op.ATTEND),
            self.busy.eq(self.command.valid),
            heads.begin.eq(self.begin),
            heads.last.eq(self.seating.last),
            heads.turns_busy.eq(turns.busy),
            heads.settled.eq(cache.settled),
            heads.used.eq(walk.used),
            heads.resting.eq(walk.resting),
            heads.accepted.eq(walk.accepted),
            walk.offered.eq(heads.offered),
            walk.coded.eq(heads.coded),
            walk.next_seat.eq(heads.seat),
            walk.next_head.eq(heads.head),
            walk.next_first.eq(heads.first),
            walk.queries.eq(heads.query),
            walk.own.eq(positions.o[walk.seat]),
            walk.parts.eq(command.parts),
            walk.distance.eq(command.head),
            walk.ready.eq(cache.ready),
        ]
        for name, member in cache.outer.items():
            mine, theirs = getattr(self, name), getattr(cache, name)
            if member.is_signature:
                wiring.connect(m, wiring.flipped(mine), theirs)
            else:
                m.d.comb += mine.eq(theirs) if member.flow is Out else theirs.eq(mine)

        # Vector memory's words to the rotator and the coder.
        local = Signal(shape(c, "n"))
        m.d.comb += [
            self.vector_address.eq(self._address(local, reader.workspace)),
            local.eq(heads.base + heads.word + Mux(rotate & half, command.head >> 1, 0)),
            turns.start.eq(heads.start_turns),
            turns.word.eq(heads.word),
            turns.seat.eq(heads.seat),
            turns.seating.eq(self.seating),
            turns.first.eq(command.constants),
            turns.pairs.eq((command.head >> 1) << ceil_log2(v)),
            self.constant_address.eq(
                Mux(heads.gain, command.constants + heads.word, turns.constant_address)
            ),
            turns.constant_data.eq(self.constant_data),
            positions.begin.eq(self.begin),
            positions.seating.eq(self.seating),
        ]
        x = delayed(m, self.vector_data.as_value(), 1, "x")
        flags = Cat(rotate, half, look, make, heads.word == 0)
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
        with m.If(look):
            m.d.sync += made.eq(0)
        with m.Elif(coder.done):
            m.d.sync += made.eq(made + 1)
        of_queries = Array(Signal(c.vector.exponent, name=f"of_query{g}") for g in range(c.queries))
        with m.If(coder.done & attends):
            m.d.sync += of_queries[heads.query].eq(coder.exponent)
        m.d.comb += [
            cache.context.eq(self.seating.seats[cached].context),
            cache.own.eq(positions.o[cached]),
            cache.parts.eq(command.parts),
            cache.keyed.eq(command.keys + at_head),
            cache.valued.eq(command.values + at_head),
            cache.store.eq(coder.done & ~attends),
            cache.stored_word.eq(command.keys + at_head),
            cache.stored_part.eq(made),
            cache.stored_codes.eq(coder.codes.as_value()),
            cache.stored_exponent.eq(coder.exponent),
            cache.values.eq(command.of_values),
            cache.ask.eq(walk.ask),
            cache.score.eq(score),
            cache.weigh.eq(weigh),
            cache.part.eq(part),
            cache.position.eq(position),
            softmax.query_exponents.as_value().eq(Cat(*of_queries)),
        ]
        kept = coded_queries(
            m, c, coder.done & attends, heads.query, made, coder.codes.as_value(), part
        )
        m.d.comb += dots.queries.as_value().eq(kept)

        # Scores.
        issued = delayed(m, Cat(score, part == 0), LATENCY, "issued", reset=True)
        m.d.comb += [
            dots.codes.as_value().eq(cache.codes),
            dots.scoring.eq(issued[0]),
            dots.opens.eq(issued[1]),
            softmax.dots.eq(dots.dots),
            softmax.key_exponent.eq(delayed(m, cache.key_exponent, dots.latency, "of_key")),
            softmax.value_exponent.eq(delayed(m, cache.value_exponent, dots.latency, "of_value")),
            softmax.scored.eq(
                delayed(m, score & (part == command.parts - 1), until_score, "scored", reset=True)
            ),
            softmax.position.eq(delayed(m, position, until_score, "scored_position")),
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

        # Outputs; the softmax goes on with the next group meanwhile.
        for held, theirs in ((outputs.totals, softmax.totals), (outputs.units, softmax.units)):
            kept_now = Signal.like(held, name_suffix="_kept", reset_less=True)
            with m.If(walk.ended):
                m.d.sync += kept_now.eq(theirs)
            m.d.comb += held.eq(kept_now)
        m.d.comb += [
            softmax.clear.eq(walk.ended & walk.final),
            outputs.sums.eq(dots.sums),
            outputs.query.eq(walk.out_query),
            outputs.word.eq(walk.out_word),
        ]
        writer = self.seating.seats[walk.out_seat]
        put_at = self._address(walk.out_at, writer.workspace)
        put = delayed(m, put_at, outputs.latency, "put")
        turned_at = delayed(m, self.vector_address, READ + rotator.latency, "turned_at")
        emitted = delayed(m, walk.emit, outputs.latency, "emitted", reset=True)
        rotated = delayed(m, turning, rotator.latency, "rotated", reset=True)
        m.d.comb += [
            self.write.eq(emitted | rotated),
            self.vector_write.eq(Mux(emitted, put, turned_at)),
            self.write_data.as_value().eq(Mux(emitted, outputs.o.as_value(), rotator.o.as_value())),
        ]
        if c.head_norms:
            gaining, scaling = delayed(m, Cat(heads.gain, heads.scale), READ, "normed", reset=True)
            behind = READ + outputs.direct_latency
            scaled = delayed(m, heads.gain | heads.scale, behind, "scaled", reset=True)
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
            with m.If(scaled):
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
