"""Types of tensors in GGUF files: how large they are, and what their bytes mean.

Ternary ones hold codes c = 0, 1, 2 for -1, 0, +1 and scales that multiply. Layouts are those of
llama.cpp (TQ1_0, TQ2_0, Q2_0), of Microsoft's fork (I2_S, as x86 processors read it) and of Prism
ML's (Q2_0 as its first files have it, and PQ2_0).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError

Raw = NDArray[np.uint8]
Codes = NDArray[np.int8]
Floats = NDArray[np.float32]

TAIL = 32
"""Bytes behind the codes of an I2_S tensor, which begin with its scale."""


@dataclass(frozen=True)
class Type:
    """A type of tensors.

    block
        Elements that a row has a multiple of.
    bytes_of_block
        Bytes that they take.
    tail
        Bytes behind all of them.
    unpack
        Codes 0..3 of a ternary tensor, uint8 [blocks, block], of its bytes [blocks, bytes].
    scale_at
        Place of a block's scale, float16, among its bytes; -1 for one float32 in the tail.
    grouped
        Scales of blocks may differ: they are a model's, not a matrix's told many times.
    """

    name: str
    block: int
    bytes_of_block: int
    tail: int = 0
    unpack: Callable[[Raw], Raw] | None = None
    scale_at: int = -1
    grouped: bool = False

    def size(self, count: int) -> int:
        """Bytes of `count` elements."""
        return count // self.block * self.bytes_of_block + self.tail

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether rows are whole blocks; I2_S counts in whole tensors."""
        return (math.prod(shape) if self.tail else shape[-1]) % self.block == 0

    def floats(self, raw: Raw, shape: tuple[int, ...]) -> Floats:
        """Numbers of a tensor: float types as they are, ternary ones as code times scale."""
        if self.unpack is None:
            return _FLOAT[self.name](raw).reshape(shape)
        scales = self.scales(raw, shape).reshape(-1, 1)
        parts = self.codes(raw, shape).reshape(len(scales), -1)
        return np.multiply(parts, scales, dtype=np.float32).reshape(shape)

    def codes(self, raw: Raw, shape: tuple[int, ...]) -> Codes:
        """int8 -1, 0, 1 of a ternary tensor; 0 in blocks whose scale is 0.

        Raises
        ------
        SetunError
            A code is 3.
        """
        assert self.unpack is not None
        blocks = self._blocks(raw)
        fields = self.unpack(blocks)
        if fields.max() > 2:
            raise SetunError(f"{self.name} codes", "must be 0, 1 and 2", "3", "it is not ternary")
        codes = fields.view(np.int8)
        codes -= 1
        if self.scale_at >= 0:
            codes[_half(blocks, self.scale_at) == 0] = 0
        return codes.reshape(shape)

    def scales(self, raw: Raw, shape: tuple[int, ...]) -> Floats:
        """Scales [rows, blocks of a row] of a ternary tensor, or [1, 1] of all of it."""
        if self.scale_at < 0:
            end = raw.size - self.tail
            return raw[end : end + 4].view("<f4").astype(np.float32).reshape(1, 1)
        rows = math.prod(shape[:-1])
        return _half(self._blocks(raw), self.scale_at).reshape(rows, -1)

    def _blocks(self, raw: Raw) -> Raw:
        return raw[: raw.size - self.tail].reshape(-1, self.bytes_of_block)


def _half(blocks: Raw, at: int) -> Floats:
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2")[:, 0].astype(np.float32)


def _tq1_0(blocks: Raw) -> Raw:
    """48 bytes of five trits and 4 of four; the first trit is the most significant."""
    fields = np.empty((len(blocks), 256), np.uint8)
    for first, begin, width, trits in ((0, 0, 32, 5), (160, 32, 16, 5), (240, 48, 4, 4)):
        packed = blocks[:, begin : begin + width]
        for n in range(trits):
            digit = packed * np.uint8(3**n)  # modulo 256
            at = first + n * width
            fields[:, at : at + width] = digit.astype(np.uint16) * 3 >> 8
    return fields


def _planes(width: int, shifts: tuple[int, ...]) -> Callable[[Raw], Raw]:
    """Runs of bytes, each with its first bits' elements before its next bits'."""

    def unpack(packed: Raw) -> Raw:
        runs = packed.reshape(len(packed), -1, 1, width)
        fields = runs >> np.array(shifts, np.uint8)[:, None] & np.uint8(3)
        return fields.reshape(len(packed), -1)

    return unpack


def _neighbours(packed: Raw) -> Raw:
    """Four to the byte, the first in its low bits."""
    fields = packed[..., None] >> np.array([0, 2, 4, 6], np.uint8) & np.uint8(3)
    return fields.reshape(len(packed), -1)


def _bfloat16(raw: Raw) -> Floats:
    return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)


_FLOAT: dict[str, Callable[[Raw], Floats]] = {
    "F32": lambda raw: raw.view("<f4").astype(np.float32),
    "F16": lambda raw: raw.view("<f2").astype(np.float32),
    "BF16": _bfloat16,
}

_TQ2_0 = _planes(32, (0, 2, 4, 6))

TYPES: dict[int, tuple[Type, ...]] = {
    0: (Type("F32", 1, 4),),
    1: (Type("F16", 1, 2),),
    30: (Type("BF16", 1, 2),),
    34: (Type("TQ1_0", 256, 54, unpack=_tq1_0, scale_at=52),),
    35: (Type("TQ2_0", 256, 66, unpack=lambda b: _TQ2_0(b[:, :64]), scale_at=64),),
    36: (Type("I2_S", 128, 32, TAIL, unpack=_planes(32, (6, 4, 2, 0))),),
    42: (
        Type("Q2_0", 64, 18, unpack=lambda b: _neighbours(b[:, 2:]), scale_at=0, grouped=True),
        Type("Q2_0", 128, 34, unpack=lambda b: _neighbours(b[:, 2:]), scale_at=0, grouped=True),
    ),
    142: (
        Type("PQ2_0", 128, 34, unpack=lambda b: _neighbours(b[:, 2:]), scale_at=0, grouped=True),
    ),
}
"""By the number in a file; two layouts share Q2_0's, which sizes tell apart."""

UNREAD = {
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    20: "IQ4_NL",
    23: "IQ4_XS",
    41: "Q1_0",
    143: "PTQ1_0",
}
"""Names of other types in use."""
