"""Normaliser-quantiser: a vector of floats into codes for the array, and their scale."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.config import SLOTS, ChipConfig
from setun.firmware.numerics.arithmetic import Arithmetic, MeanSquare
from setun.firmware.numerics.functions import Ints
from setun.hw.arith import (
    PRODUCT_LATENCY,
    BlockSquare,
    block_square,
    multiplier,
)
from setun.hw.commands import CONSTANT_WORDS, quantise_command
from setun.hw.instruction import shape
from setun.hw.pipeline import delayed, tree, tree_latency
from setun.hw.seats import Walk, number, pass_layout, walk, within, workspaces
from setun.hw.vector.codes import EARLY, Coder, code_latency
from setun.hw.vector.maxima import Maxima, maxima_layout
from setun.hw.vector.passing import coming_layout, item_layout
from setun.hw.vector.products import Products
from setun.hw.vector.scale import SUM_BITS, ScaleUnit

AHEAD = 2  # commands whose maxima are taken before their codes are made
VECTORS = 4  # between the beginning of their codes and their scale


class Quantiser(wiring.Component):
    """Two passes over each seat's vector: products and their maxima, then codes and squares.

    The second pass reads the products that the first has made, so while codes are made of one
    vector, the maxima of the next are looked for. With `stream` the first pass watches the sink
    store the vector.

    Codes are floor(127*|t|/max|t| + 1/2) with the sign of t = x*gain, or with fp8 t over the power
    of two in max|t|: both are scale-invariant, so 1/rms is left to the scale. Squares are integers
    aligned to the largest exponent of their vector: exact sums, the same for any number of lanes.

    Members
    -------
    command : In(stream)
        See `setun.hw.commands.quantise_command`. Begun at once if a slot is free.
    seating : In
        Who sits where; see `setun.hw.seats.pass_layout`.
    vector_address : Out, vector_data : In, constant_address : Out, constant_data : In
        Read ports, data one cycle later: V elements; V outer gains and V gains.
    listening : Out(1), coming : In, rows : In(V floats)
        A `stream` command waits for its vectors; the word that `coming` announces is in `rows` a
        cycle later, when it is written to memory too.
    slot_enable, slot, slot_seat, slot_address, slot_data : Out
        Write port of the slot memory, P codes a word; the last word is filled up with zeros.
    written : Out(1)
        Strobe: a word of codes is written `early` cycles from now.
    filled : Out(stream of words)
        One item per command, before its first word is written; `written` tells how far it is.
    released : In(1)
        Strobe: the oldest slot is free again.
    scale : Out(stream of fmt.width)
        One item per command and seat, about 20 cycles after the seat's last code.
    array_sum : In(fmt.width per seat), settled : In(one bit per seat)
        Sums of squares of the last rows stored; see `Sink`.
    eps_outer, eps_inner : In
        See `ScaleUnit`.
    busy : Out(1)

    Latency from the last element's strobe to the first slot word: log2(V) + P/V + 8 cycles, three
    more with L-Mul. A vector takes ceil(n/V) cycles of either pass.
    """

    def __init__(self, config: ChipConfig, *, early: int = 0) -> None:
        self.code_latency = code_latency(config.numerics)
        if not 0 <= early <= self.code_latency:
            raise ValueError(f"codes are known {self.code_latency} cycles before: {early}")
        self.config, self.early = config, early
        w, v = config.vector.width, config.lanes
        super().__init__(
            {
                "command": In(stream.Signature(quantise_command(config))),
                "seating": In(pass_layout(config)),
                "vector_address": Out(shape(config, "src")),
                "vector_data": In(data.ArrayLayout(w, v)),
                "constant_address": Out(CONSTANT_WORDS),
                "constant_data": In(data.ArrayLayout(w, 2 * v)),
                "listening": Out(1),
                "coming": In(coming_layout(config)),
                "rows": In(data.ArrayLayout(w, v)),
                "written": Out(1),
                "slot_enable": Out(1),
                "slot": Out(range(SLOTS)),
                "slot_seat": Out(number(config.contexts)),
                "slot_address": Out(range(max(config.slot_words, 2))),
                "slot_data": Out(8 * config.columns),
                "filled": Out(stream.Signature(range(config.slot_words + 1))),
                "released": In(1),
                "scale": Out(stream.Signature(w)),
                "array_sum": In(data.ArrayLayout(w, config.contexts)),
                "settled": In(config.contexts),
                "eps_outer": In(w),
                "eps_inner": In(w),
                "busy": Out(1),
            }
        )

    def model(
        self,
        x: ArrayLike,
        outer: ArrayLike,
        gain: ArrayLike,
        command: Mapping[str, int],
        array_sum: int,
        eps_outer: int,
        eps_inner: int,
    ) -> tuple[Ints, int]:
        """Codes, 8 bits as signed numbers, and bits of the scale of one seat's vector.

        Arguments are bits, but for `command`: see `quantise_command`.
        """
        fmt, compute = self.config.vector, Arithmetic(self.config.numerics)
        scalars = (array_sum, eps_outer, eps_inner, command["inverse_n"])
        of_rows, outer_eps, inner_eps, inverse_n = (float(fmt.from_bits(v)) for v in scalars)
        codes, scale = compute.quantise(
            fmt.from_bits(x),
            fmt.from_bits(outer),
            fmt.from_bits(gain),
            inverse_n,
            (outer_eps, inner_eps),
            MeanSquare(command["mean_square"]),
            of_rows,
        )
        return compute.code_bits(codes), int(fmt.to_bits(scale)[0])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, fmt = self.config, self.config.vector
        column_bits = c.columns.bit_length() - 1
        command, last = self.command.payload, self.seating.last

        # The second pass follows with its own copy of the command.
        layout = quantise_command(c)
        m.submodules.behind = behind = fifo.SyncFIFO(width=layout.size, depth=AHEAD)
        m.submodules.fills = fills = fifo.SyncFIFO(width=len(self.filled.payload), depth=SLOTS)
        wiring.connect(m, wiring.flipped(self.filled), fills.r_stream)
        used = Signal(range(SLOTS + 1))
        start, reading, hearing = Signal(), Signal(), Signal()
        m.d.comb += [
            behind.w_data.eq(command),
            behind.w_en.eq(start),
            fills.w_data.eq((command.n + (c.columns - 1)) >> column_bits),
            fills.w_en.eq(start),
            start.eq(self.command.valid & ~reading & ~hearing & behind.w_rdy & (used != SLOTS)),
        ]
        m.d.sync += used.eq(used + start - self.released)

        # First pass: maxima, of words read or of words that the sink stores.
        m.submodules.maxima = maxima = Maxima(c)
        looked, heard, open_seats = Signal(), Signal(), Signal(c.contexts)
        first = walk(m, c, looked, self._final(m, command, "first"), last, "first")
        # Second pass: codes.
        making = Signal()
        later = data.View(layout, behind.r_data)
        second = walk(m, c, making, self._final(m, later, "second"), last, "second")
        vacant = ~first.opens | ~open_seats.bit_select(first.seat, 1)
        m.d.comb += [
            self.listening.eq(hearing),
            heard.eq(hearing & self.coming.valid),
            looked.eq(reading & vacant),
            self.command.ready.eq((heard & self.coming.ends) | (looked & first.ends)),
            behind.r_en.eq(making & second.ends),
        ]
        with m.If(start):
            m.d.sync += [reading.eq(~command.stream), hearing.eq(command.stream)]
        with m.Elif(self.command.ready):
            m.d.sync += [reading.eq(0), hearing.eq(0)]

        vectors = Signal(range(VECTORS + 1))  # under way from here to the scale
        begin, scaled = Signal(), Signal()
        m.d.comb += begin.eq(
            ~making
            & behind.r_rdy
            & maxima.complete.bit_select(second.seat, 1)
            & (vectors != VECTORS)
        )
        m.d.sync += vectors.eq(vectors + begin - scaled)
        with m.If(begin):
            m.d.sync += making.eq(1)
        with m.Elif(making & second.closes):
            m.d.sync += making.eq(0)
        for k in range(c.contexts):
            with m.If(begin & (second.seat == k)):
                m.d.sync += open_seats[k].eq(0)
            with m.If((looked & (first.seat == k)) | (heard & (self.coming.seat == k))):
                m.d.sync += open_seats[k].eq(1)

        m.submodules.products = products = Products(c)
        item = self._item(m, hearing, looked | heard, first)
        here = self._multiply(m, item, products)
        m.d.comb += [
            maxima.valid.eq(here.valid),
            maxima.opens.eq(here.opens),
            maxima.closes.eq(here.closes),
            maxima.seat.eq(here.seat),
            maxima.own.eq(products.write_data.own),
            maxima.weighted.eq(products.write_data.weighted),
            maxima.gained.eq(products.write_data.gained),
            maxima.take.eq(begin),
            maxima.taken.eq(second.seat),
        ]
        top = Signal(maxima_layout(fmt))
        with m.If(begin):
            m.d.sync += top.eq(maxima.maxima[second.seat])
        bank = Signal()
        with m.If(behind.r_en):
            m.d.sync += bank.eq(~bank)
        m.d.comb += [
            products.read_bank.eq(bank),
            products.read_seat.eq(second.seat),
            products.read_word.eq(second.word),
        ]
        flags = Cat(making, second.opens, second.closes, second.ends)
        flags = delayed(m, flags, Products.latency, "second", reset=True)
        self._codes(m, products.read_data.gained, top.largest, flags)
        sums, summed = self._sums(m, products.read_data, top, flags)
        self._scales(m, later, begin, second.seat, top, sums, summed, scaled)
        m.d.comb += self.busy.eq(self.command.valid | behind.r_rdy | (vectors != 0))
        return m

    def _final(self, m: Module, command: Value, name: str) -> Value:
        """Number of the vector's last word, a cycle behind the command, which begins later."""
        word = (command.n - 1) >> (self.config.lanes.bit_length() - 1)
        return delayed(m, word[: len(command.n)], 1, f"{name}_final")

    def _item(self, m: Module, hearing: Value, valid: Value, first: Walk) -> data.View:
        """The first pass's word of this cycle, read from memory or announced by the sink."""
        c, command = self.config, self.command.payload
        item = Signal(item_layout(c))
        bank = Signal()
        with m.If(self.command.ready):
            m.d.sync += bank.eq(~bank)
        m.d.comb += [
            item.valid.eq(valid),
            item.opens.eq(Mux(hearing, self.coming.word == 0, first.opens)),
            item.closes.eq(Mux(hearing, self.coming.closes, first.closes)),
            item.bank.eq(bank),
            item.seat.eq(Mux(hearing, self.coming.seat, first.seat)),
            item.word.eq(Mux(hearing, self.coming.word, first.word)),
            self.vector_address.eq(
                within(
                    command.source + first.word,
                    c.vector_words,
                    self.seating.seats[first.seat].workspace,
                    workspaces(c),
                )
            ),
            self.constant_address.eq(command.constants + item.word),
        ]
        return item

    def _multiply(self, m: Module, item: Value, products: Products) -> data.View:
        """Writes x, x*outer and x*gain of every lane; returns whose they are."""
        v, latency = self.config.lanes, PRODUCT_LATENCY
        heard = Signal()
        m.d.sync += heard.eq(self.listening)
        for k in range(v):
            x = delayed(m, Mux(heard, self.rows[k], self.vector_data[k]), 1, f"x{k}")
            m.d.comb += products.write_data.own[k].eq(delayed(m, x, latency, f"own{k}"))
            for name, constant, product in (
                ("outer", self.constant_data[k], products.write_data.weighted),
                ("gain", self.constant_data[v + k], products.write_data.gained),
            ):
                m.submodules[f"by_{name}{k}"] = multiply = multiplier(self.config.numerics)
                factor = delayed(m, constant, 1, f"{name}{k}")
                m.d.comb += [multiply.a.eq(x), multiply.b.eq(factor), product[k].eq(multiply.o)]
        layout = item_layout(self.config)
        late = delayed(m, item.as_value(), 2 + latency, "item", reset=True)
        here = data.View(layout, late)
        m.d.comb += [
            products.write_enable.eq(here.valid),
            products.write_bank.eq(here.bank),
            products.write_seat.eq(here.seat),
            products.write_word.eq(here.word),
        ]
        return here

    def _codes(self, m: Module, t: data.View, largest: Value, flags: Value) -> None:
        """Codes of V lanes, collected into words of P and written to the slot."""
        c, v = self.config, self.config.lanes
        m.submodules.coder = coder = Coder(c)
        m.d.comb += [coder.largest.eq(largest), coder.t.eq(t)]
        valid, _opens, closes, ends = flags
        parts = c.columns // v
        wait = self.code_latency - self.early
        coming = delayed(m, Cat(valid, closes, ends), wait, "coming", reset=True)
        valid, closes, ends = delayed(m, coming, self.early, "coded", reset=True)
        ahead = Signal(range(max(parts, 2)))  # of `part`
        m.d.comb += self.written.eq(coming[0] & (coming[1] | (ahead == parts - 1)))
        with m.If(coming[0]):
            m.d.sync += ahead.eq(Mux(self.written, 0, ahead + 1))
        part = Signal(range(max(parts, 2)))
        held = Signal(8 * c.columns)
        joined = Signal.like(held)
        m.d.comb += [
            joined.eq(held),
            joined.word_select(part, 8 * v).eq(coder.o),
            self.slot_data.eq(joined),
            self.slot_enable.eq(valid & (closes | (part == parts - 1))),
        ]
        with m.If(self.slot_enable):
            m.d.sync += [part.eq(0), held.eq(0), self.slot_address.eq(self.slot_address + 1)]
            with m.If(closes):
                m.d.sync += [self.slot_address.eq(0), self.slot_seat.eq(self.slot_seat + 1)]
            with m.If(ends):
                m.d.sync += self.slot_seat.eq(0)
                m.d.sync += self.slot.eq(Mux(self.slot == SLOTS - 1, 0, self.slot + 1))
        with m.Elif(valid):
            m.d.sync += [part.eq(part + 1), held.eq(joined)]

    def _sums(
        self, m: Module, products: data.View, top: data.View, flags: Value
    ) -> tuple[list[Value], Value]:
        """Sums of squares of x*outer and x over the second pass, and a strobe with them."""
        totals: list[Value] = []
        late = BlockSquare.latency + tree_latency(self.config.lanes)
        valid, opens, closes = delayed(m, flags[:3], late, "squared", reset=True)
        for name, values, exponent in (
            ("gained", products.weighted, top.gained),
            ("own", products.own, top.own),
        ):
            known = delayed(m, exponent, EARLY, f"{name}_exponent")
            squares = []
            for k, value in enumerate(values):
                m.submodules[f"{name}_square{k}"] = square = block_square(self.config.numerics)
                m.d.comb += [square.a.eq(value), square.exponent.eq(known)]
                squares.append(square.o)
            joined = tree(m, squares, lambda a, b: a + b, f"{name}_sum")
            total = Signal(SUM_BITS - 1, name=f"{name}_total")
            with m.If(valid):
                m.d.sync += total.eq(Mux(opens, 0, total) + joined)
            totals.append(total)
        return totals, delayed(m, valid & closes, 1, "summed", reset=True)

    def _scales(
        self,
        m: Module,
        later: data.View,
        begin: Value,
        seat: Value,
        top: data.View,
        sums: list[Value],
        summed: Value,
        scaled: Signal,
    ) -> None:
        """Statistics, in order, through the scale unit."""
        c, fmt = self.config, self.config.vector
        known = data.StructLayout(
            {
                "top": maxima_layout(fmt),
                "inverse_n": fmt.width,
                "mean_square": 2,
                "seat": number(c.contexts),
            }
        )
        front = Signal(known)
        m.submodules.known = knowns = fifo.SyncFIFO(width=known.size, depth=VECTORS)
        m.submodules.sums = totals = fifo.SyncFIFO(width=2 * (SUM_BITS - 1), depth=VECTORS)
        m.submodules.scale = unit = ScaleUnit(c.numerics, bare=c.core.has(MeanSquare.UNIT))
        m.submodules.scales = scales = fifo.SyncFIFO(width=fmt.width, depth=SLOTS * c.contexts)
        wiring.connect(m, unit.o, scales.w_stream)
        wiring.connect(m, wiring.flipped(self.scale), scales.r_stream)
        about = delayed(m, Cat(later.inverse_n, later.mean_square, seat), 1, "about")
        array = front.mean_square == MeanSquare.ARRAY
        own_sum, gained_sum = totals.r_data[SUM_BITS - 1 :], totals.r_data[: SUM_BITS - 1]
        m.d.comb += [
            knowns.w_data.eq(Cat(top, about)),
            knowns.w_en.eq(delayed(m, begin, 1, "begun", reset=True)),
            totals.w_data.eq(Cat(*sums)),
            totals.w_en.eq(summed),
            front.eq(knowns.r_data),
            unit.array_sum.eq(self.array_sum[front.seat]),
            unit.eps_outer.eq(self.eps_outer),
            unit.eps_inner.eq(self.eps_inner),
            unit.i.payload.own_sum.eq(own_sum),
            unit.i.payload.own_exponent.eq(front.top.own),
            unit.i.payload.gained_sum.eq(gained_sum),
            unit.i.payload.gained_exponent.eq(front.top.gained),
            unit.i.payload.largest.eq(front.top.largest),
            unit.i.payload.inverse_n.eq(front.inverse_n),
            unit.i.payload.mean_square.eq(front.mean_square),
            unit.i.valid.eq(totals.r_rdy & (~array | self.settled.bit_select(front.seat, 1))),
            scaled.eq(unit.i.valid & unit.i.ready),
            knowns.r_en.eq(scaled),
            totals.r_en.eq(scaled),
        ]
