"""Outputs of heads: weighted sums over the totals of their terms."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

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
    sums : In(V signed sums)
    total : In, unit : In(fmt.exponent)
        Of their query, with them.
    o : Out(V floats)

    Latency `latency` cycles, throughput a word a cycle.
    """

    latency = FloatFromInt.latency + Reciprocal.latency + PRODUCT_LATENCY + TimesPower.latency

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        fmt, v = config.vector, config.lanes
        super().__init__(
            {
                "sums": In(data.ArrayLayout(signed(sum_bits(config)), v)),
                "total": In(total_bits(config)),
                "unit": In(fmt.exponent),
                "o": Out(data.ArrayLayout(fmt.width, v)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, fmt = self.config, self.config.vector
        m.submodules.denominator = denominator = FloatFromInt(fmt, total_bits(c) + 1)
        m.submodules.reciprocal = reciprocal = Reciprocal(fmt)
        m.d.comb += [
            denominator.a.eq(Cat(self.total, Const(0, 1)).as_signed()),
            reciprocal.a.eq(denominator.o),
        ]
        power = Signal(fmt.width)
        before = FloatFromInt.latency + Reciprocal.latency + PRODUCT_LATENCY
        m.d.comb += power.eq(Cat(Const(0, fmt.mantissa), delayed(m, self.unit, before, "unit")))
        for k in range(c.lanes):
            # A unit is 2**(field - bias - 6); `TimesPower` takes off the bias.
            m.submodules[f"float{k}"] = number = FloatFromInt(fmt, sum_bits(c), fraction=6)
            m.submodules[f"mean{k}"] = mean = multiplier(c.numerics)
            m.submodules[f"scaled{k}"] = scaled = TimesPower(fmt)
            given = self.sums[k]
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
        return m
