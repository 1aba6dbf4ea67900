"""GGUF files written here, so that they can hold anything."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

F32, F16, I2_S, TQ2_0, Q2_0, PQ2_0 = 0, 1, 36, 35, 42, 142
Stored = tuple[int, tuple[int, ...], bytes]
"""Type, shape with rows first, bytes."""


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value(found: Any) -> bytes:
    """A value of metadata with its type before it."""
    if isinstance(found, bool):
        return struct.pack("<I?", 7, found)
    if isinstance(found, int):
        return struct.pack("<II", 4, found)
    if isinstance(found, float):
        return struct.pack("<If", 6, found)
    if isinstance(found, str):
        return struct.pack("<I", 8) + text(found)
    items = list(found)
    kind, size = next(((k, s) for k, t, s in _KINDS if isinstance(items[0], t)), (8, ""))
    body = b"".join(text(each) if kind == 8 else struct.pack(size, each) for each in items)
    return struct.pack("<IIQ", 9, kind, len(items)) + body


_KINDS: tuple[tuple[int, type, str], ...] = ((5, int, "<i"), (6, float, "<f"))


def head(values: Mapping[str, Any], tensors: Mapping[str, Stored], alignment: int = 32) -> bytes:
    """All but the tensors' bytes, padded."""
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    data += b"".join(text(key) + value(found) for key, found in values.items())
    offset = 0
    for name, (kind, shape, stored) in tensors.items():
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        data += text(name) + sizes + struct.pack("<IQ", kind, offset)
        offset += -(-len(stored) // alignment) * alignment
    return data + bytes(-len(data) % alignment)


def write(
    path: Path, values: Mapping[str, Any], tensors: Mapping[str, Stored], alignment: int = 32
) -> Path:
    body = b"".join(s + bytes(-len(s) % alignment) for _, _, s in tensors.values())
    path.write_bytes(head(values, tensors, alignment) + body)
    return path


def floats(array: np.ndarray) -> Stored:
    return F32, array.shape, array.astype("<f4").tobytes()


def i2_s(codes: np.ndarray, scale: float) -> Stored:
    """Microsoft's, as x86 processors read it."""
    fields = (codes + 1).astype(np.uint8).reshape(-1, 4, 32)
    packed = fields[:, 0] << 6 | fields[:, 1] << 4 | fields[:, 2] << 2 | fields[:, 3]
    return I2_S, codes.shape, packed.tobytes() + struct.pack("<f", scale) + bytes(28)


def q2_0(codes: np.ndarray, scales: np.ndarray, block: int, kind: int = Q2_0) -> Stored:
    """Four to the byte behind a block's scale; scales [rows, columns / 128]."""
    fields = (codes + 1).astype(np.uint8).reshape(-1, block // 4, 4)
    packed = fields[..., 0] | fields[..., 1] << 2 | fields[..., 2] << 4 | fields[..., 3] << 6
    each = np.repeat(scales, 128 // block, axis=1).astype("<f2").reshape(-1, 1).view(np.uint8)
    return kind, codes.shape, np.concatenate([each, packed], axis=1).tobytes()
