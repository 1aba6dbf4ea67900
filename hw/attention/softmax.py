"""Scores of the positions: kept until the largest is known, then made terms of a softmax."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.firmware.numerics import attention as twin
from setun.hw.arith import FloatFromInt, FloatToFixed
from setun.hw.arith.bits import pipe, shift_right
from setun.hw.attention.exponential import Exponential
from setun.hw.attention.sizes import (
    SCORE_BITS,
    TERM_BITS,
    WHOLE_BITS,
    position_shape,
    total_bits,
)
from setun.hw.pipeline import delayed


class Softmax(wiring.Component):
    """G queries' scores, one position a cycle, and then their terms.

    A score is dot * 2**exponent, rounded, then cut to fixed point: a whole part k and a fraction.
    A term of a weighted sum is 2**score in units of the largest 2**k times its value's unit; the
    total of the softmax has terms in units of the largest 2**k. See
    `setun.firmware.numerics.attention.Attention`.

    Members
    -------
    clear : In(1)
        Strobe: forget maxima and totals. They are of all positions since.
    dots : In(G signed sums), query_exponents : In(G exponent fields)
    key_exponent, value_exponent : In
        Exponent fields of the position's heads, with the dots.
    scored : In(1), position : In
        With them: they count.
    read : In(1), read_position : In
        A score is to become a term.
    of_value : In
        Exponent field of that position's value, three cycles later.
    counts : In(1)
        With `read`: it counts for the totals.
    terms : Out(G numbers of TERM_BITS)
        `term_latency` cycles after `read`.
    totals : Out(G numbers)
        A cycle after the terms.
    units : Out(G exponent fields)
        Of the values, of weighted sums over totals: how far the largest unit of a term is above
        the largest 2**k.
    """

    score_latency = FloatFromInt.latency + FloatToFixed.latency + 2
    term_latency = 3 + Exponential.latency + 1

    def __init__(self, config: ChipConfig, dot_bits: int) -> None:
        self.config, self.dot_bits = config, dot_bits
        g, e = config.queries, config.vector.exponent
        super().__init__(
            {
                "clear": In(1),
                "dots": In(data.ArrayLayout(signed(dot_bits), g)),
                "query_exponents": In(data.ArrayLayout(e, g)),
                "key_exponent": In(e),
                "value_exponent": In(e),
                "scored": In(1),
                "position": In(position_shape(config)),
                "read_position": In(position_shape(config)),
                "of_value": In(e),
                "read": In(1),
                "counts": In(1),
                "terms": Out(data.ArrayLayout(TERM_BITS, g)),
                "totals": Out(data.ArrayLayout(total_bits(config), g)),
                "units": Out(data.ArrayLayout(e, g)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, fmt = self.config, self.config.vector
        into = FloatFromInt.latency + FloatToFixed.latency
        scored = delayed(m, self.scored, into, "scored", reset=True)
        position = delayed(m, self.position, into, "position")
        of_value = delayed(m, self.value_exponent, into, "value_exponent")
        # Of units 2**(field - bias - 6) each.
        unit_bias = 2 * (fmt.bias + 6)
        depth = 1 << ceil_log2(max(2, c.positions))
        counts = delayed(m, self.read & self.counts, 3 + Exponential.latency, "counts", reset=True)
        first = Signal(init=1)
        with m.If(self.clear):
            m.d.sync += first.eq(1)
        with m.Elif(scored):
            m.d.sync += first.eq(0)
        for g in range(c.queries):
            m.submodules[f"float{g}"] = number = FloatFromInt(fmt, self.dot_bits, scaled=True)
            m.submodules[f"fixed{g}"] = fixed = FloatToFixed(fmt, SCORE_BITS, twin.SCORE_FRACTION)
            exponent = Signal(signed(fmt.exponent + 2), name=f"exponent{g}")
            m.d.sync += exponent.eq(self.query_exponents[g] + self.key_exponent - unit_bias)
            m.d.comb += [
                number.a.eq(self.dots[g]),
                number.exponent.eq(exponent),
                fixed.a.eq(number.o),
            ]
            score = fixed.o
            store = memory.Memory(shape=SCORE_BITS + 1, depth=depth, init=[])
            m.submodules[f"scores{g}"] = store
            write, read = store.write_port(), store.read_port()
            m.d.comb += [
                write.en.eq(scored),
                write.addr.eq(position),
                write.data.eq(score),
                read.addr.eq(self.read_position),
            ]
            whole = score[twin.SCORE_FRACTION :].as_signed()
            highest = Signal(signed(WHOLE_BITS + 1), name=f"highest{g}")
            most = Signal(signed(WHOLE_BITS + 2), name=f"most{g}")
            weighed = Signal(signed(WHOLE_BITS + 2), name=f"weighed{g}")
            m.d.comb += weighed.eq(whole + of_value)
            with m.If(scored):
                m.d.sync += [
                    highest.eq(Mux(first | (whole > highest), whole, highest)),
                    most.eq(Mux(first | (weighed > most), weighed, most)),
                ]
            m.d.comb += self.units[g].eq(most - highest)

            # Table, product and sum of a term beside the distances that it is shifted by.
            m.submodules[f"exponential{g}"] = exponential = Exponential(adders=c.numerics.lmul)
            held = delayed(m, read.data, 2, f"held{g}")
            level = held[twin.SCORE_FRACTION :].as_signed()
            m.d.comb += exponential.f.eq(held[: twin.SCORE_FRACTION])
            shifted = []
            for name, distance in (
                ("term", most - (level + self.of_value)),
                ("share", highest - level),
            ):
                by = pipe(m, distance.as_unsigned()[: WHOLE_BITS + 2], f"{name}_distance{g}")
                bits = TERM_BITS.bit_length()
                near, far = by[:bits], pipe(m, by[bits:].any(), f"{name}_far{g}")
                near = delayed(m, near, Exponential.latency - 1, f"{name}_near{g}")
                far = delayed(m, far, Exponential.latency - 2, f"{name}_far{g}_late")
                moved = shift_right(m, exponential.o, near, name=f"{name}{g}")
                shifted.append(Mux(far, 0, moved))
            term = pipe(m, shifted[0], f"made{g}")
            m.d.comb += self.terms[g].eq(term)
            share, total = pipe(m, shifted[1], f"part{g}"), self.totals[g]
            late = delayed(m, counts, 1, f"counts{g}", reset=True)
            with m.If(self.clear):
                m.d.sync += total.eq(0)
            with m.Elif(late):
                m.d.sync += total.eq(total + share)
        return m
