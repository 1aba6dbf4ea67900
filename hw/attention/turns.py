"""Turns of RoPE: the cosine and the sine of every pair at the tokens' positions."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.firmware.image.turns import TURN_BITS
from setun.firmware.numerics import rotary
from setun.hw.arith import FloatFromInt
from setun.hw.arith.bits import pipe, rom, shift_and_add
from setun.hw.commands import CONSTANT_WORDS
from setun.hw.pipeline import delayed
from setun.hw.seats import number, pass_layout


class Turns(wiring.Component):
    """Phases of every context, moved on by a position and looked up in one table of a turn.

    A context's phases are kept from token to token, so no position is multiplied: a phase is a
    whole number modulo a turn. See `setun.firmware.numerics.rotary`.

    Members
    -------
    start : In(1)
        Strobe: move the pass's tokens on. `first` and `pairs` stay until `busy` is low.
    seating : In
        Who sits where; see `setun.hw.seats.pass_layout`.
    first : In, pairs : In
        Constant word of the increments; how many there are.
    constant_address : Out, constant_data : In(2V numbers)
        Read port, data one cycle later. Pair k's increment has its low bits in lane k, its high
        bits in lane V + k.
    busy : Out(1)
    seat, word : In
        Whose turns, V pairs a word.
    cosines, sines : Out(V floats)
        One cycle later.

    A seat takes two cycles a pair, the whole pass 7 more.
    """

    DRAIN = 7

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        w, v = config.vector.width, config.lanes
        self.most = config.head_elements // 2
        self.words = max(2, -(-self.most // v))
        super().__init__(
            {
                "start": In(1),
                "seating": In(pass_layout(config)),
                "first": In(CONSTANT_WORDS),
                "pairs": In(range(self.most + 1)),
                "constant_address": Out(CONSTANT_WORDS),
                "constant_data": In(data.ArrayLayout(w, 2 * v)),
                "busy": Out(1),
                "seat": In(number(config.contexts)),
                "word": In(range(self.words)),
                "cosines": Out(data.ArrayLayout(w, v)),
                "sines": Out(data.ArrayLayout(w, v)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, v, fmt = self.config, self.config.lanes, self.config.vector
        lane_bits = ceil_log2(v)
        pair = Signal(range(max(2, self.most)))
        seat, sine = Signal(number(c.contexts)), Signal()
        going, drain = Signal(), Signal(range(self.DRAIN + 1))
        whose = self.seating.seats[seat]
        with m.If(self.start):
            m.d.sync += [going.eq(1), drain.eq(self.DRAIN)]
        with m.Elif(going):
            m.d.sync += sine.eq(~sine)
            with m.If(sine):
                m.d.sync += pair.eq(pair + 1)
                with m.If(pair == self.pairs - 1):
                    m.d.sync += [pair.eq(0), seat.eq(seat + 1)]
                    with m.If(seat == self.seating.last):
                        m.d.sync += [seat.eq(0), going.eq(0)]
        with m.Elif(drain != 0):
            m.d.sync += drain.eq(drain - 1)
        m.d.comb += [
            self.busy.eq(going | (drain != 0)),
            self.constant_address.eq(self.first + (pair >> lane_bits)),
        ]

        phases = memory.Memory(
            shape=rotary.PHASE_BITS, depth=c.contexts << ceil_log2(max(2, self.most)), init=[]
        )
        m.submodules.phases = phases
        read, write = phases.read_port(), phases.write_port()
        address = Cat(pair, whose.context) if c.contexts > 1 else pair
        m.d.comb += read.addr.eq(address)
        about = Cat(going, sine, pair, seat)
        fresh = delayed(m, whose.fresh, 1, "fresh")
        old = Mux(fresh, 0, read.data)
        lane = delayed(m, pair[:lane_bits], 1, "lane") if lane_bits else None
        numbers = self.constant_data
        low = numbers[0] if lane is None else Array(numbers[k] for k in range(v))[lane]
        high = numbers[v] if lane is None else Array(numbers[v + k] for k in range(v))[lane]
        increment = Mux(fresh, 0, Cat(low[:TURN_BITS], high[:TURN_BITS]))
        phase, going1 = (
            Signal(rotary.PHASE_BITS),
            delayed(m, about[:2], 1, "first_step", reset=True),
        )
        with m.If(going1[0] & ~going1[1]):
            m.d.sync += phase.eq(old + increment)
        moved = delayed(m, Cat(going1[0] & ~going1[1]), 1, "moved", reset=True)
        m.d.comb += [
            write.en.eq(moved),
            write.addr.eq(delayed(m, address, 2, "written")),
            write.data.eq(phase),
        ]

        # A sine is the cosine of a quarter of a turn before.
        is_sine = delayed(m, sine, 2, "is_sine")
        looked = Signal(rotary.PHASE_BITS)
        m.d.comb += looked.eq(phase - Mux(is_sine, rotary.QUARTER, 0))
        base_table, gain_table = rotary.cosine_table()
        at = looked[-rotary.STEP_BITS :]
        base_bits, gain_bits = rotary.FRACTION + 2, 11
        masks = (1 << base_bits) - 1, (1 << gain_bits) - 1
        base = rom(m, base_table & masks[0], base_bits, at, name="cosine")
        gain = rom(m, gain_table & masks[1], gain_bits, at, name="gain")
        below = looked[: -rotary.STEP_BITS][-rotary.POSITION_BITS :]
        t = delayed(m, below, 1, "position")
        if c.numerics.lmul:
            gained = shift_and_add(m, gain.as_signed(), t, name="gained")
        else:
            gained = gain.as_signed() * Cat(t, 0).as_signed()
        step = pipe(m, gained, "step")
        half = 1 << (rotary.POSITION_BITS - 1)
        value = Signal(signed(base_bits))
        m.d.comb += value.eq(
            delayed(m, base, 1, "base").as_signed() + ((step + half) >> rotary.POSITION_BITS)
        )
        m.submodules.convert = convert = FloatFromInt(fmt, base_bits, fraction=rotary.FRACTION)
        m.d.comb += convert.a.eq(value)

        # Issue, phase, table, product, conversion of two cycles.
        done = delayed(m, about, 6, "done", reset=True)
        valid, of_sine = done[0], done[1]
        of_pair, of_seat = done[2 : 2 + len(pair)], done[2 + len(pair) :]
        depth = c.contexts * self.words
        where = Cat(of_pair[lane_bits:], Const(0, 1))[: ceil_log2(self.words)]
        wanted = Cat(self.word, self.seat) if c.contexts > 1 else self.word
        place = Cat(where, of_seat) if c.contexts > 1 else where
        for name, outs, chosen in (
            ("cosines", self.cosines, ~of_sine),
            ("sines", self.sines, of_sine),
        ):
            for k in range(v):
                store = memory.Memory(shape=fmt.width, depth=max(depth, 2), init=[])
                m.submodules[f"{name}{k}"] = store
                put, get = store.write_port(), store.read_port()
                mine = (of_pair[:lane_bits] == k) if lane_bits else 1
                m.d.comb += [
                    put.en.eq(valid & chosen & mine),
                    put.addr.eq(place),
                    put.data.eq(convert.o),
                    get.addr.eq(wanted),
                    outs[k].eq(get.data),
                ]
        return m
