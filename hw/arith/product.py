"""The multiplier that a chip's numerics ask for."""

from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.hw.arith.lmul import LMul
from setun.hw.arith.multiplier import FloatMultiplier

PRODUCT_LATENCY = FloatMultiplier.latency
assert LMul.latency == PRODUCT_LATENCY


def multiplier(numerics: Numerics, fmt: Format | None = None) -> FloatMultiplier | LMul:
    """A unit o = a * b of `PRODUCT_LATENCY` cycles, in the vector format unless told otherwise."""
    wanted = fmt or numerics.vector
    return LMul(wanted, numerics.segments) if numerics.lmul else FloatMultiplier(wanted)
