"""2**f of the softmax, by a table of segments."""

import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics import attention as twin
from setun.firmware.numerics.functions import Ints
from setun.hw.arith.bits import pipe, rom, shift_and_add
from setun.hw.attention.sizes import TERM_BITS
from setun.hw.pipeline import delayed


class Exponential(wiring.Component):
    """o = 2**f in units of 2**-EXP_BITS, linear in each of 64 segments.

    See `setun.firmware.numerics.attention.exp2`.

    Parameters
    ----------
    adders
        Gain times position by additions instead of a multiplier; the result is the same.

    Members
    -------
    f : In(SCORE_FRACTION)
        Fraction.
    o : Out(TERM_BITS)
        From 2**EXP_BITS to below 2**TERM_BITS.

    Latency: 3 cycles (table | product | sum). Throughput: 1 per cycle.
    """

    latency = 3

    def __init__(self, *, adders: bool = False) -> None:
        self.adders = adders
        super().__init__({"f": In(twin.SCORE_FRACTION), "o": Out(TERM_BITS)})

    def model(self, f: ArrayLike) -> Ints:
        """Results of an array of fractions, whole numbers."""
        e, _ = twin.exp2(np.asarray(f) * 2.0**-twin.SCORE_FRACTION)
        return e

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bases, gains = twin.exp2_table()
        below, segment = self.f[: twin.POSITION_BITS], self.f[twin.POSITION_BITS :]
        base = rom(m, bases, TERM_BITS, segment, name="base")
        gain = rom(m, gains, int(gains.max()).bit_length(), segment, name="gain")
        position = delayed(m, below, 1, "below")
        added = shift_and_add(m, gain, position, name="gained") if self.adders else None
        step = pipe(m, gain * position if added is None else added, "step")
        half = 1 << (twin.POSITION_BITS - 1)
        total = Signal(TERM_BITS)
        m.d.comb += total.eq(
            delayed(m, base, 1, "base_late") + ((step + half) >> twin.POSITION_BITS)
        )
        m.d.comb += self.o.eq(pipe(m, Cat(total), "result"))
        return m
