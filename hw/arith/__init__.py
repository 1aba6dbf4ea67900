"""Arithmetic units: fixed latency, one operation per cycle, no handshake.

Numbers travel as bit patterns of a `setun.firmware.numerics.formats.Format`. Every unit takes new
operands on each cycle and shows their result `latency` cycles later; it has no reset state, so
whatever entered before the first operands is noise to be ignored. To stall a unit, wrap it in
`amaranth.hdl.EnableInserter`. `model()` of each unit is its bit-true NumPy twin.
"""

from setun.hw.arith.adder import FloatAdder
from setun.hw.arith.bits import ordered_key, ordered_key_model
from setun.hw.arith.code8 import Code8, TimesPower, whole
from setun.hw.arith.convert import FloatFromInt, FloatToKey
from setun.hw.arith.divide import CodeDivider
from setun.hw.arith.fixed import FloatToFixed
from setun.hw.arith.lmul import LMul
from setun.hw.arith.multiplier import FloatMultiplier
from setun.hw.arith.narrow import Narrow, widened
from setun.hw.arith.product import PRODUCT_LATENCY, multiplier
from setun.hw.arith.quantise import CodeQuantiser, CodeReciprocal
from setun.hw.arith.reciprocal import Reciprocal
from setun.hw.arith.rsqrt import Rsqrt
from setun.hw.arith.sigmoid import Sigmoid
from setun.hw.arith.square import (
    BlockLMulSquare,
    BlockSquare,
    WholeLMulSquare,
    WholeSquare,
    block_square,
    whole_square,
)
from setun.hw.arith.xorshift import xorshift32

__all__ = [
    "PRODUCT_LATENCY",
    "BlockLMulSquare",
    "BlockSquare",
    "Code8",
    "CodeDivider",
    "CodeQuantiser",
    "CodeReciprocal",
    "FloatAdder",
    "FloatFromInt",
    "FloatMultiplier",
    "FloatToFixed",
    "FloatToKey",
    "LMul",
    "Narrow",
    "Reciprocal",
    "Rsqrt",
    "Sigmoid",
    "TimesPower",
    "WholeLMulSquare",
    "WholeSquare",
    "block_square",
    "multiplier",
    "ordered_key",
    "ordered_key_model",
    "whole",
    "whole_square",
    "widened",
    "xorshift32",
]
