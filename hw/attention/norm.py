"""Norms of heads: the root of a head's sum of squares, which its elements are multiplied with."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.arith import BlockSquare, FloatAdder, FloatFromInt, Rsqrt, block_square
from setun.hw.pipeline import delayed, tree, tree_latency
from setun.hw.vector.scale import SQUARE_FRACTION


class HeadNorm(wiring.Component):
    """root = 1/sqrt(sum of squares + eps) of a head's words.

    See `setun.firmware.numerics.arithmetic.Arithmetic.head_norm`: the unit of attention multiplies
    by gains and root, with the products of `Outputs`.

    Members
    -------
    valid, opens : In(1)
        The word counts; it is the head's first.
    x : In(V floats)
        With them.
    exponent : In(fmt.exponent)
        Largest exponent field of the head; stable from its first word until the root is used.
    eps : In(fmt.width)
        Stable likewise.
    root : Out(fmt.width)
        `latency` cycles after the head's last word, until the next head's.

    Throughput a word a cycle.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.summed = BlockSquare.latency + tree_latency(config.lanes)
        self.latency = self.summed + 1 + FloatFromInt.latency + FloatAdder.latency + Rsqrt.latency
        fmt = config.vector
        super().__init__(
            {
                "valid": In(1),
                "opens": In(1),
                "x": In(data.ArrayLayout(fmt.width, config.lanes)),
                "exponent": In(fmt.exponent),
                "eps": In(fmt.width),
                "root": Out(fmt.width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, fmt = self.config, self.config.vector
        squares: list[Value] = []
        for k in range(c.lanes):
            m.submodules[f"square{k}"] = square = block_square(c.numerics)
            m.d.comb += [square.a.eq(self.x[k]), square.exponent.eq(self.exponent)]
            squares.append(square.o)
        bits = len(squares[0]) + ceil_log2(c.head_elements)
        valid, opens = delayed(m, Cat(self.valid, self.opens), self.summed, "summed", reset=True)
        joined = tree(m, squares, lambda a, b: a + b, "joined")
        total = Signal(bits)
        with m.If(valid):
            m.d.sync += total.eq(Mux(opens, 0, total) + joined)
        m.submodules.convert = convert = FloatFromInt(fmt, bits + 1, scaled=True)
        m.submodules.add = add = FloatAdder(fmt)
        m.submodules.rsqrt = rsqrt = Rsqrt(fmt)
        offset = Signal(signed(fmt.exponent + 2))
        m.d.comb += [
            # Squares count in units of 4**(exponent - bias - 15).
            offset.eq((self.exponent - (fmt.bias + SQUARE_FRACTION)) << 1),
            convert.a.eq(total),
            convert.exponent.eq(offset),
            add.a.eq(convert.o),
            add.b.eq(self.eps),
            rsqrt.a.eq(add.o),
            self.root.eq(rsqrt.o),
        ]
        return m
