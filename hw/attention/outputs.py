"""Outputs of heads: weighted sums over the totals of their terms."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.arith import (
    PRODUCT_LATENCY,
    FloatFromInt,
    Reciprocal,
    TimesPower,
    multiplier,
)
from setun.hw.arith.bits import pipe
from setun.hw.attention.sizes import sum_bits, total_bits
from setun.hw.pipeline import delayed


class Outputs(wiring.Component):
    """V sums of a query as floats, times the reciprocal of its total, in the values' unit.

    Members
    -------
    sums : In(G * C signed sums), totals : In(G numbers), units : In(G exponent fields)
        Of all queries; see `Dots` and `Softmax`.
    query, word : In
        Which query's sums are wanted, V of its C.
    direct : In(1), x, factors : In(V floats)
        With `config.head_norms` alone: x times the factors is wanted, `direct_latency` cycles from
        now, and no sums are under way.
    o : Out(V floats)

    Latency `latency` cycles, throughput a word a cycle.
    """

    direct_latency = PRODUCT_LATENCY + TimesPower.latency
    latency = 1 + FloatFromInt.latency + Reciprocal.latency + PRODUCT_LATENCY + TimesPower.latency

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        fmt, v, g = config.vector, config.lanes, config.queries
        words = data.ArrayLayout(fmt.width, v)
        direct = {"direct": In(1), "x": In(words), "factors": In(words)}
        super().__init__(
            {
                **(direct if config.head_norms else {}),
                "sums": In(data.ArrayLayout(signed(sum_bits(config)), g * config.attention)),
                "totals": In(data.ArrayLayout(total_bits(config), g)),
                "units": In(data.ArrayLayout(fmt.exponent, g)),
                "query": In(range(g + 1)),
                "word": In(range(max(2, config.attention // v))),
                "o": Out(words),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, fmt = self.config, self.config.vector
        words = c.attention // c.lanes
        at = Cat(self.word[: ceil_log2(words)], self.query)
        sums = Signal(data.ArrayLayout(signed(sum_bits(c)), c.lanes))
        total, unit = Signal(total_bits(c)), Signal(fmt.exponent)
        m.d.sync += [
            sums.as_value().eq(self.sums.as_value().word_select(at, len(sums.as_value()))),
            total.eq(self.totals[self.query]),
            unit.eq(self.units[self.query]),
        ]
        m.submodules.denominator = denominator = FloatFromInt(fmt, total_bits(c) + 1)
        m.submodules.reciprocal = reciprocal = Reciprocal(fmt)
        m.d.comb += [
            denominator.a.eq(Cat(total, Const(0, 1)).as_signed()),
            reciprocal.a.eq(denominator.o),
        ]
        power = Signal(fmt.width)
        before = FloatFromInt.latency + Reciprocal.latency + PRODUCT_LATENCY
        m.d.comb += power.eq(Cat(Const(0, fmt.mantissa), delayed(m, unit, before, "unit")))
        if c.head_norms:
            with m.If(delayed(m, self.direct, PRODUCT_LATENCY, "multiplied")):
                m.d.comb += power.eq(fmt.bias << fmt.mantissa)  # 1.0
        for k in range(c.lanes):
            # A unit is 2**(field - bias - 6); `TimesPower` takes off the bias.
            m.submodules[f"float{k}"] = number = FloatFromInt(fmt, sum_bits(c), fraction=6)
            m.submodules[f"mean{k}"] = mean = multiplier(c.numerics)
            m.submodules[f"scaled{k}"] = scaled = TimesPower(fmt)
            given = sums[k]
            for stage in range(Reciprocal.latency):
                given = pipe(m, given, f"sum{k}_{stage}")
            m.d.comb += [
                number.a.eq(given),
                mean.a.eq(number.o),
                mean.b.eq(reciprocal.o),
                scaled.a.eq(mean.o),
                scaled.b.eq(power),
                self.o[k].eq(scaled.o),
            ]
            if c.head_norms:
                with m.If(self.direct):
                    m.d.comb += [mean.a.eq(self.x[k]), mean.b.eq(self.factors[k])]
        return m
