"""Sums of squares of a matvec's rows, for the norm of what they make."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.arithmetic import STAT_BITS, Arithmetic
from setun.hw.arith import PRODUCT_LATENCY, FloatFromInt, multiplier, whole_square
from setun.hw.pipeline import delayed, tree, tree_latency
from setun.hw.seats import number
from setun.hw.vector.scale import SUM_BITS


class RowStatistic(wiring.Component):
    """Sum over each seat's rows y = acc*s of y*y, from the leading 12 bits of the accumulators.

    Members
    -------
    valid : In(1), rows : In(V signed sums), seat : In, opens : In(1), closes : In(1)
        A word of a seat's rows, whether it is the first, the last of the seat's matvec.
    shift : In(5)
        Bits dropped from the accumulators before they are squared.
    squares : In(fmt.width per seat)
        s*s of each seat, stable from a few cycles after its first row.
    o : Out(fmt.width per seat), settled : Out(one bit per seat)
        The sum, and whether it is that of the last rows: low from the first one on.

    Latency: log2(V) + 9 cycles from a seat's last word, one more with L-Mul.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        w, seats = config.vector.width, config.contexts
        self.sum_width = config.sum_width
        super().__init__(
            {
                "valid": In(1),
                "rows": In(data.ArrayLayout(signed(self.sum_width), config.lanes)),
                "seat": In(number(seats)),
                "opens": In(1),
                "closes": In(1),
                "shift": In(5),
                "squares": In(data.ArrayLayout(w, seats)),
                "o": Out(data.ArrayLayout(w, seats)),
                "settled": Out(seats, init=(1 << seats) - 1),
            }
        )

    def model(self, rows: ArrayLike, shift: int, squared: int) -> int:
        """Bits of the sum for a seat's rows, whole numbers, and the bits of s*s."""
        fmt, compute = self.config.vector, Arithmetic(self.config.numerics)
        s = float(fmt.from_bits(squared))
        total = compute.row_statistic(np.asarray(rows, np.float64), shift, s)
        return int(fmt.to_bits(total)[0])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt, v, seats = self.config.vector, self.config.lanes, self.config.contexts
        squares = []
        for k in range(v):
            short = Signal(signed(STAT_BITS), name=f"short{k}", reset_less=True)
            m.submodules[f"square{k}"] = square = whole_square(self.config.numerics, STAT_BITS)
            m.d.sync += short.eq(self.rows[k] >> self.shift)
            m.d.comb += square.a.eq(short)
            squares.append(square.o)
        joined = tree(m, squares, lambda a, b: a + b, "square_sum")
        at = 1 + square.latency + tree_latency(v)
        valid, opens, closes = delayed(
            m, Cat(self.valid, self.opens, self.closes), at, "flags", reset=True
        )
        seat = delayed(m, self.seat, at, "seat")
        totals = Signal(data.ArrayLayout(SUM_BITS - 1, seats))
        with m.If(valid):
            m.d.sync += totals[seat].eq(Mux(opens, 0, totals[seat]) + joined)

        m.submodules.total = convert = FloatFromInt(
            fmt, SUM_BITS, scaled=True, fraction=2 * self.config.numerics.fraction
        )
        m.submodules.squared = multiply = multiplier(self.config.numerics)
        complete = delayed(m, valid & closes, 2, "complete", reset=True)
        whose = delayed(m, seat, 1, "whose")
        total = Signal(SUM_BITS - 1, reset_less=True)  # counting its zeros takes a cycle of its own
        m.d.sync += total.eq(totals[whose])
        shift = delayed(m, self.shift, at + 3, "shift")  # the exponent is taken a cycle later
        product = delayed(m, whose, 1 + convert.latency, "product_seat")
        done = delayed(m, complete, convert.latency + PRODUCT_LATENCY, "done", reset=True)
        result = delayed(m, product, PRODUCT_LATENCY, "result_seat")
        m.d.comb += [
            convert.a.eq(total),
            convert.exponent.eq(shift << 1),
            multiply.a.eq(convert.o),
            multiply.b.eq(self.squares[product]),
        ]
        # The sums of rows before may come when the next ones have begun: they settle nothing.
        turn = Signal(seats)
        mine = turn.bit_select(self.seat, 1) ^ self.opens
        turn_then = delayed(m, mine, at + 2 + convert.latency + PRODUCT_LATENCY, "turn_then")
        with m.If(done):
            m.d.sync += self.o[result].eq(multiply.o)
            with m.If(turn_then == turn.bit_select(result, 1)):
                m.d.sync += self.settled.bit_select(result, 1).eq(1)
        with m.If(self.valid & self.opens):
            m.d.sync += [
                self.settled.bit_select(self.seat, 1).eq(0),
                turn.bit_select(self.seat, 1).eq(mine),
            ]
        return m
