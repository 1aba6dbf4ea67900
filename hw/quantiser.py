"""Normaliser-quantiser: a vector of floats into int8 codes for the array, and their scale."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import SLOTS, ChipConfig
from setun.firmware.isa import MeanSquare
from setun.hw.arith import BlockSquare, CodeQuantiser, CodeReciprocal, FloatMultiplier
from setun.hw.pipeline import delayed, larger, tree, tree_latency
from setun.hw.scale import SUM_BITS, ScaleUnit, statistics


def quantise_command(config: ChipConfig) -> data.StructLayout:
    """QUANTISE with addresses in memory words."""
    return data.StructLayout(
        {
            "n": unsigned(16),  # elements
            "source": unsigned(16),
            "constants": unsigned(24),
            "mean_square": unsigned(2),
            "stream": unsigned(1),
            "inverse_n": unsigned(config.vector.width),
        }
    )


class Quantiser(wiring.Component):
    """Two passes over a vector: maxima first, then codes and sums of squares.

    With `stream` the first pass watches the sink store the vector, and costs no time of its own.

    Codes are floor(127*|t|/max|t| + 1/2) with the sign of t = x*gain: the absmax quantiser is
    scale-invariant, so 1/rms is left to the scale. Squares are integers aligned to the largest
    exponent of their vector: exact sums, the same for any number of lanes.

    Members
    -------
    command : In(stream)
        See `quantise_command`. Taken at once if a slot is free.
    vector_address : Out, vector_data : In, constant_address : Out, constant_data : In
        Read ports, data one cycle later: V elements; V outer gains and V gains.
    listening : Out(1), coming : In(1), rows : In(V floats)
        A `stream` command waits for its vector; one word of it is in `rows` a cycle after every
        strobe of `coming`, when it is written to memory too.
    slot_enable, slot, slot_address, slot_data : Out
        Write port of the slot memory, P codes a word; the last word is filled up with zeros.
    filled : Out(stream of words)
        One item per slot, before its first word is written; `slot_enable` tells how far it is.
    scale : Out(stream of fmt.width)
        One item per slot, about 20 cycles after `filled`.
    array_sum, eps_outer, eps_inner : In
        See `ScaleUnit`.
    settled : In(1)
        `array_sum` is that of the last rows stored.
    busy : Out(1)

    Latency from the last element's strobe to the first slot word: log2(V) + P/V + 10 cycles. One
    vector takes ceil(n/V) (`stream`) or 2*ceil(n/V) cycles, and 2*log2(V) + 12.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        w, v = config.vector.width, config.lanes
        super().__init__(
            {
                "command": In(stream.Signature(quantise_command(config))),
                "vector_address": Out(16),
                "vector_data": In(data.ArrayLayout(w, v)),
                "constant_address": Out(24),
                "constant_data": In(data.ArrayLayout(w, 2 * v)),
                "listening": Out(1),
                "coming": In(1),
                "rows": In(data.ArrayLayout(w, v)),
                "slot_enable": Out(1),
                "slot": Out(range(SLOTS)),
                "slot_address": Out(range(max(config.slot_words, 2))),
                "slot_data": Out(8 * config.columns),
                "filled": Out(stream.Signature(range(config.slot_words + 1))),
                "scale": Out(stream.Signature(w)),
                "array_sum": In(w),
                "settled": In(1),
                "eps_outer": In(w),
                "eps_inner": In(w),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt, v = self.config.vector, self.config.lanes
        command = self.command.payload
        column_bits = self.config.columns.bit_length() - 1
        word, words, used = Signal(16), Signal(16), Signal(range(SLOTS + 1))
        start, issue, second = Signal(), Signal(), Signal()
        m.d.comb += [
            words.eq((command.n + (v - 1)) >> v.bit_length() - 1),
            self.vector_address.eq(command.source + word),
            self.constant_address.eq(command.constants + word),
        ]
        final = issue & (word + 1 == words)
        flags = Cat(issue & ~second, issue & second, final)
        # The last maximum and its reciprocal are there when the second pass's first products are.
        found = delayed(m, final & ~second, tree_latency(v) + 2, "found", reset=True)
        assert 1 + CodeReciprocal.latency < 2 + FloatMultiplier.latency
        x, g, t, flags = self._products(m, flags, self.listening)
        largest, gained_exponent, own_exponent = self._maxima(m, x, g, t, flags, start)

        m.submodules.reciprocal = reciprocal = CodeReciprocal(fmt)
        m.d.comb += reciprocal.a.eq(largest)
        codes = []
        for k in range(v):
            m.submodules[f"code{k}"] = code = CodeQuantiser(fmt)
            m.d.comb += [
                code.a.eq(t[k]),
                code.reciprocal.eq(reciprocal.reciprocal),
                code.exponent.eq(reciprocal.exponent),
            ]
            codes.append(code.o)
        coded = delayed(m, flags, CodeQuantiser.latency, "coded", reset=True)
        self._collect(m, codes, coded, start)
        gained_sum, summed = self._squares(m, g, gained_exponent, flags, start, "gained")
        own_sum, _ = self._squares(m, x, own_exponent, flags, start, "own")

        m.submodules.scale = unit = ScaleUnit(fmt)
        m.submodules.scales = scales = fifo.SyncFIFO(width=fmt.width, depth=SLOTS)
        wiring.connect(m, unit.o, scales.w_stream)
        wiring.connect(m, wiring.flipped(self.scale), scales.r_stream)
        m.submodules.fills = fills = fifo.SyncFIFO(width=len(self.filled.payload), depth=SLOTS)
        wiring.connect(m, wiring.flipped(self.filled), fills.r_stream)
        statistic = Signal(statistics(fmt))
        pending = Signal()
        m.d.comb += [
            unit.array_sum.eq(self.array_sum),
            unit.eps_outer.eq(self.eps_outer),
            unit.eps_inner.eq(self.eps_inner),
            unit.i.payload.eq(statistic),
            unit.i.valid.eq(pending),
            fills.w_data.eq((command.n + (self.config.columns - 1)) >> column_bits),
        ]
        with m.If(unit.i.ready):
            m.d.sync += pending.eq(0)

        released = self.filled.valid & self.filled.ready
        m.d.sync += used.eq(used + start - released)
        with m.If(issue):
            m.d.sync += word.eq(Mux(final, 0, word + 1))
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += start.eq(self.command.valid & (used != SLOTS))
                with m.If(start):
                    m.next = "MAXIMA"
                    with m.If(command.stream):
                        m.next = "LISTEN"
            with m.State("LISTEN"):
                m.d.comb += [self.listening.eq(1), issue.eq(self.coming)]
                with m.If(final):
                    m.next = "FOUND"
            with m.State("MAXIMA"):
                m.d.comb += issue.eq(1)
                with m.If(final):
                    m.next = "FOUND"
            with m.State("FOUND"):
                with m.If(found):
                    m.d.comb += fills.w_en.eq(1)
                    m.next = "CODES"
            with m.State("CODES"):
                m.d.comb += [issue.eq(1), second.eq(1)]
                with m.If(final):
                    m.next = "SUMS"
            with m.State("SUMS"):
                # The last sums arrive after the last code word, so the slot is complete too.
                settled = self.settled | (command.mean_square != MeanSquare.ARRAY)
                with m.If(summed & ~pending & settled):
                    m.d.comb += self.command.ready.eq(1)
                    m.d.sync += [
                        pending.eq(1),
                        statistic.own_sum.eq(own_sum),
                        statistic.own_exponent.eq(own_exponent),
                        statistic.gained_sum.eq(gained_sum),
                        statistic.gained_exponent.eq(gained_exponent),
                        statistic.largest.eq(largest),
                        statistic.inverse_n.eq(command.inverse_n),
                        statistic.mean_square.eq(command.mean_square),
                        self.slot.eq(Mux(self.slot == SLOTS - 1, 0, self.slot + 1)),
                    ]
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(self.command.valid | pending)
        return m

    def _products(
        self, m: Module, flags: Value, listening: Value
    ) -> tuple[list[Value], list[Value], list[Value], Value]:
        """x, x*outer, x*gain of every lane and their flags: 2 + multiplier cycles after issue."""
        heard = delayed(m, listening, 1, "heard", reset=True)
        v, latency = self.config.lanes, FloatMultiplier.latency
        own: list[Value] = []
        outer_products: list[Value] = []
        gain_products: list[Value] = []
        for k in range(v):
            x = delayed(m, Mux(heard, self.rows[k], self.vector_data[k]), 1, f"x{k}")
            own.append(delayed(m, x, latency, f"own{k}"))
            for name, constant, products in (
                ("outer", self.constant_data[k], outer_products),
                ("gain", self.constant_data[v + k], gain_products),
            ):
                m.submodules[f"by_{name}{k}"] = multiply = FloatMultiplier(self.config.vector)
                factor = delayed(m, constant, 1, f"{name}{k}")
                m.d.comb += [multiply.a.eq(x), multiply.b.eq(factor)]
                products.append(multiply.o)
        aligned = delayed(m, flags, 2 + latency, "flags", reset=True)
        return own, outer_products, gain_products, aligned

    def _maxima(
        self, m: Module, x: list[Value], g: list[Value], t: list[Value], flags: Value, start: Value
    ) -> tuple[Value, Value, Value]:
        """Largest |t|, exponents of the largest |g| and |x| of the first pass."""
        fmt = self.config.vector
        here = delayed(m, flags, tree_latency(len(x)), "first", reset=True)
        maxima = []
        for name, values, low in (
            ("largest", t, 0),
            ("gained", g, fmt.mantissa),
            ("own", x, fmt.mantissa),
        ):
            best = tree(m, [n[low : fmt.width - 1] for n in values], larger, f"{name}_tree")
            held = Signal(best.shape(), name=f"{name}_max")
            with m.If(start):
                m.d.sync += held.eq(0)
            with m.Elif(here[0] & (best > held)):
                m.d.sync += held.eq(best)
            maxima.append(held)
        return maxima[0], maxima[1], maxima[2]

    def _squares(
        self, m: Module, values: list[Value], exponent: Value, flags: Value, start: Value, name: str
    ) -> tuple[Value, Value]:
        """Sum of squares over the second pass, and a flag that stays up when it is complete."""
        squares = []
        for k, value in enumerate(values):
            m.submodules[f"{name}_square{k}"] = square = BlockSquare(self.config.vector)
            m.d.comb += [square.a.eq(value), square.exponent.eq(exponent)]
            squares.append(square.o)
        joined = tree(m, squares, lambda a, b: a + b, f"{name}_sum")
        here = delayed(m, flags, BlockSquare.latency + tree_latency(len(values)), f"{name}_here",
                       reset=True)  # fmt: skip
        total = Signal(SUM_BITS - 1, name=f"{name}_total")
        complete = Signal(name=f"{name}_complete")
        with m.If(start):
            m.d.sync += [total.eq(0), complete.eq(0)]
        with m.Elif(here[1]):
            m.d.sync += [total.eq(total + joined), complete.eq(here[2])]
        return total, complete

    def _collect(self, m: Module, codes: list[Value], flags: Value, start: Value) -> None:
        """Codes of V lanes into words of P, written to the slot."""
        parts = self.config.columns // self.config.lanes
        part = Signal(range(max(parts, 2)))
        held = Signal(8 * self.config.columns)
        joined = Signal.like(held)
        valid, final = flags[1], flags[1] & flags[2]
        m.d.comb += [
            joined.eq(held),
            joined.word_select(part, 8 * self.config.lanes).eq(Cat(*codes)),
            self.slot_data.eq(joined),
            self.slot_enable.eq(valid & (final | (part == parts - 1))),
        ]
        with m.If(start):
            m.d.sync += [part.eq(0), held.eq(0), self.slot_address.eq(0)]
        with m.Elif(self.slot_enable):
            m.d.sync += [part.eq(0), held.eq(0), self.slot_address.eq(self.slot_address + 1)]
        with m.Elif(valid):
            m.d.sync += [part.eq(part + 1), held.eq(joined)]
