"""Pieces that every float unit shares: fields, rounding and packing, keys, ROMs."""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, ValueLike, signed, unsigned
from amaranth.lib import memory
from numpy.typing import ArrayLike, NDArray

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import Ints


class Fields:
    """Views of a bit pattern: `mantissa`, `exponent` (biased), `sign`, `magnitude`.

    `significand` is M+1 bits with the implied one; it means nothing while `nonzero` is low.
    """

    def __init__(self, fmt: Format, bits: Value) -> None:
        self.mantissa = bits[: fmt.mantissa]
        self.exponent = bits[fmt.mantissa : fmt.width - 1]
        self.magnitude = bits[: fmt.width - 1]
        self.sign = bits[fmt.width - 1]
        self.nonzero = self.exponent.any()
        self.significand = Cat(self.mantissa, Const(1, 1))


def pipe(m: Module, value: ValueLike, name: str, shape: Any = None) -> Signal:
    """A register of `value` without reset: one stage of a pipeline."""
    source = Value.cast(value)
    stage = Signal(source.shape() if shape is None else shape, name=name, reset_less=True)
    m.d.sync += stage.eq(source)
    return stage


def round_up(kept_lsb: Value, guard: Value, sticky: Value) -> Value:
    """Whether round-to-nearest-even adds one, from the bits around the cut."""
    return guard & (sticky | kept_lsb)


def pack(
    m: Module,
    fmt: Format,
    *,
    zero: Value,
    sign: Value,
    exponent: Value,
    mantissa: Value,
    up: Value,
    step: ValueLike = 0,
    name: str = "",
) -> Value:
    """Round, flush and saturate: the bit pattern of a positive significand and its exponent.

    Parameters
    ----------
    exponent
        Biased exponent before rounding, signed, any value that fits E+2 bits signed.
    mantissa
        M bits below the leading one; `up` adds one unit in the last place.
    step
        One bit added to the exponent in the same carry chain.
    """
    # One carry chain over exponent and mantissa: a mantissa that overflows is a mantissa of
    # zero with the next exponent, which is what rounding up to a power of two means.
    joined = Signal(signed(fmt.exponent + 2 + fmt.mantissa), name=f"{name}joined")
    low = Cat(up, Const(0, fmt.mantissa - 1), Value.cast(step)[0])
    field = Signal(signed(fmt.exponent + 2), name=f"{name}field")
    m.d.comb += [
        field.eq(exponent),
        joined.eq(Cat(mantissa, field).as_signed() + low),
    ]
    result = joined[fmt.mantissa :]
    below = joined[-1]
    above = ~below & joined[-2]
    flush = zero | below | ~result.any()
    body = joined[: fmt.width - 1] | above.replicate(fmt.width - 1)
    return Mux(flush, 0, Cat(body, sign))


def ordered_key(fmt: Format, bits: ValueLike) -> Value:
    """Signed integer, width of the format, that orders floats: x < y exactly if key(x) < key(y).

    Every form of zero gives 0. Combinational, one LUT a bit: negative numbers complement their
    magnitude instead of negating it.
    """
    number = Fields(fmt, Value.cast(bits))
    magnitude = Cat(number.magnitude, Const(0, 1))
    key = magnitude ^ number.sign.replicate(fmt.width)
    return Mux(number.nonzero, key, 0).as_signed()


def ordered_key_model(fmt: Format, bits: ArrayLike) -> Ints:
    """`ordered_key` of an array of bit patterns."""
    b = np.asarray(bits).astype(np.int64)
    magnitude = b & ((1 << (fmt.width - 1)) - 1)
    negative = (b >> (fmt.width - 1)) & 1 == 1
    key = np.where(negative, ~magnitude, magnitude)
    return np.where(magnitude >> fmt.mantissa == 0, 0, key)


def exponent_field(fmt: Format, bits: NDArray[np.int64]) -> Ints:
    """Biased exponents of bit patterns."""
    return (bits >> fmt.mantissa) & ((1 << fmt.exponent) - 1)


def significand(fmt: Format, bits: NDArray[np.int64]) -> Ints:
    """Significands of bit patterns as integers in [2**M, 2**(M+1)), 0 for zeros."""
    full = (bits & ((1 << fmt.mantissa) - 1)) | (1 << fmt.mantissa)
    return np.where(exponent_field(fmt, bits) == 0, 0, full)


def shift_right(m: Module, value: Value, amount: Value, *, name: str) -> Value:
    """`value >> amount` by multiplexer stages of one bit of `amount` each, width kept.

    Amaranth's `>>` is the same logic; spelling it out keeps Yosys from building $shr with the
    full width of the amount.
    """
    for i in range(len(amount)):
        if (1 << i) >= len(value):
            stage = Signal(len(value), name=f"{name}_{i}")
            m.d.comb += stage.eq(Mux(amount[i:].any(), 0, value))
            return stage
        stage = Signal(len(value), name=f"{name}_{i}")
        m.d.comb += stage.eq(Mux(amount[i], value >> (1 << i), value))
        value = stage
    return value


def shift_and_add(m: Module, a: Value, b: Value, *, name: str) -> Value:
    """`a * b` by a tree of additions of `a`, one for each bit of `b`; signed if one of them is."""
    negative = b.shape().signed  # whose highest bit counts below zero
    if negative and not a.shape().signed:
        a = Cat(a, Const(0, 1)).as_signed()
    as_wide = Value.as_signed if a.shape().signed else Value.as_unsigned
    terms: list[tuple[int, Value]] = [(k, Mux(b[k], a, 0)) for k in range(len(b))]
    while len(terms) > 1:
        joined = []
        for (low, x), (high, y) in zip(terms[::2], terms[1::2], strict=False):
            apart = high - low
            # The lowest bits of the lower term pass by the adder.
            rest = as_wide(x[apart:])
            shape = Shape(max(len(rest), len(y)) + 1, a.shape().signed)
            upper = Signal(shape, name=f"{name}_{low}_{high}")
            m.d.comb += upper.eq(rest - y if negative and high == len(b) - 1 else rest + y)
            joined.append((low, as_wide(Cat(x[:apart], upper))))
        terms = joined + terms[len(joined) * 2 :]
    return as_wide(terms[0][1][: len(a) + len(b)])


def leading_zeros(m: Module, value: Value, *, name: str) -> Value:
    """Zeros above the highest one of `value`, by a tree of halves.

    A zero `value` counts its width, or one less when the width is a power of two.
    """
    width = 1 << max(1, (len(value) - 1).bit_length())
    padding = width - len(value)
    return _zeros(m, Cat(Const((1 << padding) - 1, padding), value), name)[1]


def _zeros(m: Module, value: Value, name: str) -> tuple[Value, Value]:
    """(all zero, leading zeros) of a value whose width is a power of two."""
    if len(value) == 2:
        return ~value.any(), ~value[1]
    half = len(value) // 2
    low_empty, low = _zeros(m, value[:half], f"{name}l")
    empty, high = _zeros(m, value[half:], f"{name}h")
    count = Signal(len(high) + 1, name=name)
    m.d.comb += count.eq(Cat(Mux(empty, low, high), empty))
    return empty & low_empty, count


def rom(m: Module, contents: Ints, width: int, address: Value, *, name: str) -> Value:
    """Words of a synchronous read-only memory: the data of `address` one cycle later."""
    store = memory.Memory(
        shape=unsigned(width), depth=len(contents), init=[int(word) for word in contents]
    )
    m.submodules[name] = store
    port = store.read_port()
    m.d.comb += port.addr.eq(address)
    return port.data


def bits_shape(fmt: Format) -> Shape:
    """Shape of a bit pattern."""
    return unsigned(fmt.width)
