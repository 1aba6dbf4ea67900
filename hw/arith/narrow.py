"""Numbers with more or fewer mantissa bits and the same exponents."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.noise import NOISE_BITS, round_stochastic
from setun.hw.arith.bits import bits_shape, pipe


def widened(value: Value, fmt: Format, wide: Format) -> Value:
    """Bits of a number of `fmt` in `wide`, which has as many mantissa bits or more."""
    return Cat(Const(0, wide.mantissa - fmt.mantissa), value)


class Narrow(wiring.Component):
    """o = a rounded to fewer mantissa bits: to nearest even, or at random.

    Parameters
    ----------
    wide, fmt
        Formats of operand and result, with the same exponents.
    stochastic
        Round up with the probability of what is dropped; `wide` then has `NOISE_BITS` more bits.

    Members
    -------
    a : In(wide.width)
        A zero is all-zero bits.
    noise : In(NOISE_BITS)
        Only if `stochastic`: uniform noise, with `a`.
    o : Out(fmt.width)
        Saturated above the largest number.

    Latency: 1 cycle. Throughput: 1 per cycle.
    """

    latency = 1

    def __init__(self, wide: Format, fmt: Format, *, stochastic: bool = False) -> None:
        self.wide, self.fmt, self.stochastic = wide, fmt, stochastic
        self.drop = wide.mantissa - fmt.mantissa
        if self.drop < 1 or wide.exponent != fmt.exponent:
            raise ValueError(f"must be narrower: {fmt} than {wide}")
        if stochastic and self.drop != NOISE_BITS:
            raise ValueError(f"must drop {NOISE_BITS} bits: {self.drop}")
        members = {"a": In(bits_shape(wide)), "o": Out(bits_shape(fmt))}
        if stochastic:
            members["noise"] = In(NOISE_BITS)
        super().__init__(members)

    def model(self, a: ArrayLike, noise: ArrayLike = 0) -> Ints:
        """Bit patterns of rounded bit patterns."""
        value = self.wide.from_bits(a)
        if self.stochastic:
            value = round_stochastic(self.fmt, value, np.asarray(noise).astype(np.int64))
        return self.fmt.to_bits(value).astype(np.int64)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        size = self.wide.width - 1
        magnitude, sign = self.a[:size], self.a[size]
        if self.stochastic:
            total = magnitude + self.noise
        else:
            # Half less one, and one more if what stays is odd: ties go to even.
            half = Const((1 << (self.drop - 1)) - 1, self.drop)
            total = (Cat(Const(1, 1), magnitude) + Cat(magnitude[self.drop], half))[1:]
        kept = total[self.drop : size]
        o = Mux(total[size], (1 << len(kept)) - 1, kept)
        m.d.comb += self.o.eq(pipe(m, Cat(o, sign), "result"))
        return m
