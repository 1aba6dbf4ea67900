"""Functions and units on whole numbers behind registers, to be driven like the units on floats."""

from typing import Any

import numpy as np
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.options import ACCUMULATOR, CODE, CODE_BITS, CODE_FRACTION
from setun.hw.arith import ordered_key, ordered_key_model, whole
from setun.hw.arith.bits import shift_and_add
from setun.hw.array.accumulate import rounded

SMALL = Format(5, 2)


class KeyUnit(wiring.Component):
    """`ordered_key` behind a register, to be driven like the other units."""

    latency = 1

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        super().__init__({"a": In(fmt.width), "o": Out(fmt.width)})

    def model(self, a: ArrayLike) -> Ints:
        return ordered_key_model(self.fmt, a)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.sync += self.o.eq(ordered_key(self.fmt, self.a))
        return m


class WholeUnit(wiring.Component):
    """`whole` behind a register, to be driven like the other units."""

    latency = 1
    fmt = CODE

    def __init__(self) -> None:
        super().__init__({"a": In(CODE.width), "o": Out(CODE_BITS)})

    def model(self, a: ArrayLike) -> Ints:
        size = CODE.from_bits(a) * (1 << CODE_FRACTION)
        return size.astype(np.int64) & ((1 << CODE_BITS) - 1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.sync += self.o.eq(whole(m, self.a, "value"))
        return m


class RoundUnit(wiring.Component):
    """`rounded` behind a register, to be driven like the other units."""

    latency = 1
    fmt = ACCUMULATOR

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"a": In(signed(width)), "o": Out(width)})

    def model(self, a: ArrayLike) -> Ints:
        return ACCUMULATOR.round(a).astype(np.int64) & ((1 << self.width) - 1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.sync += self.o.eq(rounded(m, self.a, "value"))
        return m


class SumsUnit(wiring.Component):
    """`shift_and_add` of 6 and 5 bits behind a register, to be driven like the other units."""

    latency = 1
    fmt = SMALL

    def __init__(self, *, first: bool, second: bool) -> None:
        self.signs = first, second
        super().__init__({"a": In(6), "b": In(5), "o": Out(11)})

    def model(self, a: ArrayLike, b: ArrayLike) -> Ints:
        x, y = (
            np.where(negative, bits - 2 * (bits & (1 << width - 1)), bits)
            for bits, width, negative in zip((a, b), (6, 5), self.signs, strict=True)
        )
        return x * y & ((1 << 11) - 1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        a, b = (
            x.as_signed() if negative else x
            for x, negative in zip((self.a, self.b), self.signs, strict=True)
        )
        m.d.sync += self.o.eq(shift_and_add(m, a, b, name="part"))
        return m


class IntegerUnit(wiring.Component):
    """A unit on whole numbers, to be driven like those on floats."""

    def __init__(self, unit: Any) -> None:
        self.unit, self.fmt = unit, SMALL
        self.latency, self.model = unit.latency, unit.model
        super().__init__({"a": In(signed(unit.width)), "o": Out(2 * unit.width)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = self.unit
        m.d.comb += [self.unit.a.eq(self.a), self.o.eq(self.unit.o)]
        return m
