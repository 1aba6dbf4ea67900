"""Codes of a vector's elements for the array: whole numbers or small floats, as numerics ask."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.options import Numerics
from setun.hw.arith import Code8, CodeDivider, CodeQuantiser, CodeReciprocal
from setun.hw.pipeline import delayed
from setun.hw.vector.products import Products

EARLY = Products.latency  # cycles from a maximum to its vector's first element


def code_latency(numerics: Numerics) -> int:
    """Cycles from an element to its code."""
    if numerics.fp8:
        return Code8.latency
    return (CodeDivider if numerics.lmul else CodeQuantiser).latency


class Coder(wiring.Component):
    """Codes of V elements a cycle.

    Members
    -------
    t : In(V floats)
        Elements.
    largest : In(vector width - 1)
        Largest magnitude of their vector; changes `EARLY` cycles before its first element and at
        most `EARLY` - 1 cycles before the last element of the vector before.
    o : Out(V codes of 8 bits)
        int8 codes, or fp8's bits.

    Latency: `code_latency`. A reciprocal table and a multiplier a lane for int8 codes; with L-Mul
    a divider instead; for fp8 only an exponent's subtraction and a rounding.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.numerics, self.lanes = config.numerics, config.lanes
        w = config.vector.width
        super().__init__(
            {
                "t": In(data.ArrayLayout(w, config.lanes)),
                "largest": In(w - 1),
                "o": Out(data.ArrayLayout(8, config.lanes)),
            }
        )

    def model(self, t: ArrayLike, largest: ArrayLike) -> Ints:
        """Codes, 8 bits as signed numbers, for arrays of bits of elements and of a maximum."""
        fmt, compute = self.numerics.vector, Arithmetic(self.numerics)
        codes, _ = compute.codes(fmt.from_bits(t), fmt.from_bits(largest))
        return compute.code_bits(codes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt = self.numerics.vector
        units: Sequence[Any]
        if self.numerics.fp8:
            units = small = [Code8(fmt) for _ in range(self.lanes)]
            exponent = delayed(m, self.largest[fmt.mantissa :], EARLY, "exponent")
            m.d.comb += [code.exponent.eq(exponent) for code in small]
        elif self.numerics.lmul:
            units = dividers = [CodeDivider(fmt) for _ in range(self.lanes)]
            known = delayed(m, self.largest, EARLY, "known")
            m.d.comb += [code.largest.eq(known) for code in dividers]
        else:
            units = quantisers = [CodeQuantiser(fmt) for _ in range(self.lanes)]
            # What the maximum gives stands when the first element comes, after the last before.
            wait = EARLY - CodeReciprocal.latency
            assert wait >= 0
            m.submodules.reciprocal = reciprocal = CodeReciprocal(fmt)
            m.d.comb += reciprocal.a.eq(self.largest)
            factor = delayed(m, reciprocal.reciprocal, wait, "factor")
            exponent = delayed(m, reciprocal.exponent, wait, "factor_exponent")
            for code in quantisers:
                m.d.comb += [code.reciprocal.eq(factor), code.exponent.eq(exponent)]
        unit: Any
        for k, unit in enumerate(units):
            m.submodules[f"code{k}"] = unit
            m.d.comb += [unit.a.eq(self.t[k]), self.o[k].eq(unit.o)]
        return m
