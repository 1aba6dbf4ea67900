"""What a recurrent state keeps: f*h of the MLGRU, from u = 1 - f."""

import numpy as np
from amaranth.hdl import Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.options import Numerics
from setun.hw.arith import PRODUCT_LATENCY, FloatAdder, multiplier, widened
from setun.hw.pipeline import delayed


class Forget(wiring.Component):
    """o = (1-u)*h in `numerics.wide`, one per cycle.

    With L-Mul it is h - u*h where u <= 1/2, so that the product's error is relative to what is
    forgotten and not to what is kept: it would add up over 1/u tokens.

    Members
    -------
    u : In(vector width)
    h : In(state width)
        `FloatAdder.latency` cycles after `u`.
    o : Out(wide width)
        `latency(numerics)` cycles after `u`.

    (MatMul-free LM, arXiv 2406.02528, equation 9.)
    """

    def __init__(self, numerics: Numerics) -> None:
        self.numerics = numerics
        super().__init__(
            {
                "u": In(numerics.vector.width),
                "h": In(numerics.state.width),
                "o": Out(numerics.wide.width),
            }
        )

    def model(self, u: ArrayLike, h: ArrayLike) -> Ints:
        """Bits of `o` for arrays of bits."""
        n = self.numerics
        left = Arithmetic(n).forget(n.vector.from_bits(u), n.state.from_bits(h))
        return n.wide.to_bits(left).astype(np.int64)

    @staticmethod
    def latency(numerics: Numerics) -> int:
        """Cycles from `u` to `o`."""
        return FloatAdder.latency * (2 if numerics.lmul else 1) + PRODUCT_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt, wide = self.numerics.vector, self.numerics.wide
        sign = 1 << (wide.width - 1)
        m.submodules.complement = complement = FloatAdder(wide)
        m.submodules.multiply = multiply = multiplier(self.numerics, wide)
        u = widened(self.u, fmt, wide)
        h = widened(self.h, self.numerics.state, wide)
        m.d.comb += [
            complement.a.eq(wide.bias << wide.mantissa),
            complement.b.eq(u ^ sign),
            multiply.a.eq(complement.o),
            multiply.b.eq(h),
            self.o.eq(multiply.o),
        ]
        if self.numerics.lmul:
            self._from_small_side(m, multiply, complement.o, u, h)
        return m

    def _from_small_side(
        self, m: Module, multiply: wiring.Component, f: Value, u: Value, h: Value
    ) -> None:
        fmt, wide = self.numerics.vector, self.numerics.wide
        m.submodules.subtract = subtract = FloatAdder(wide)
        exponent = self.u[fmt.mantissa : fmt.width - 1]
        half = (exponent == fmt.bias - 1) & ~self.u[: fmt.mantissa].any()
        least = self.u[-1] | (exponent < fmt.bias - 1) | half
        small = delayed(m, least, FloatAdder.latency, "small")
        late = delayed(m, small, PRODUCT_LATENCY, "small_product")
        product = multiply.o ^ Mux(late, 1 << (wide.width - 1), 0)
        m.d.comb += [
            multiply.a.eq(Mux(small, delayed(m, u, FloatAdder.latency, "u"), f)),
            subtract.a.eq(Mux(late, delayed(m, h, PRODUCT_LATENCY, "h"), 0)),
            subtract.b.eq(product),
            self.o.eq(subtract.o),
        ]
