"""The hash of a model: which tokens it gives, whatever it is called and however it is packed.

SHA-256 over what decides a token, each part behind its length and its kind: every instruction's
fields that are not 0 by name, each table's and matrix's shape and numbers. Names, notes, the
memory map, the tokenizer and the packing are not in it.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace

import numpy as np

from setun.firmware.ahead import ahead
from setun.firmware.image.grouped_matrix import GroupedMatrix
from setun.firmware.image.image import Image
from setun.firmware.image.matrix import code_blocks
from setun.firmware.numerics.ternary import BLOCK
from setun.firmware.outputs import Data
from setun.firmware.program.isa import Instruction, Op

HASH_BYTES = 12  # of the digest: what an instruction MODEL holds
_TAG = b"setun model 2"
_SHOWN = {"note"}
"""Fields of an instruction that decide nothing."""


def with_hash(image: Image) -> Image:
    """`image` with its model hash computed and written into the program's first instruction."""
    h = _digest(image)
    words = struct.unpack("<HHII", h)
    model = Instruction(
        op=Op.MODEL,
        src=words[0],
        dst=words[1],
        constants=words[2],
        immediate=words[3],
        note=f"hash {h.hex()}",
    )
    return replace(image, program=(model, *image.program[1:]), model_hash=h.hex())


def _digest(image: Image) -> bytes:
    digest = hashlib.sha256(_TAG)
    for size, part in _parts(image):
        digest.update(struct.pack("<Q", size))
        for data in part:
            digest.update(data)
    return digest.digest()[:HASH_BYTES]


def _parts(image: Image) -> Iterator[tuple[int, Iterable[Data]]]:
    """Length of each part, and its bytes in pieces."""
    for instruction in image.program[1:]:
        yield _whole(b"instruction" + canonical(instruction))
    for name in sorted(image.tables):
        table = np.ascontiguousarray(image.tables[name], "<f4")
        yield _whole(b"table" + name.encode() + struct.pack(f"<{table.ndim}Q", *table.shape))
        yield table.nbytes, [table.data.cast("B")]
    for matrix in image.matrices:
        yield _whole(b"matrix" + struct.pack("<QQd", matrix.rows, matrix.columns, matrix.scale))
        codes = (np.ascontiguousarray(codes).data for _, codes in code_blocks(matrix))
        size = matrix.rows * matrix.columns
        yield size, ahead(codes) if size > BLOCK else codes
        if (scales := matrix.row_scales()) is not None:
            yield _whole(b"scales" + scales.astype("<f4").tobytes())
        if isinstance(matrix, GroupedMatrix):
            yield _whole(b"factors" + np.ascontiguousarray(matrix.factors()).tobytes())


def _whole(part: bytes) -> tuple[int, Iterable[Data]]:
    return len(part), [part]


def canonical(instruction: Instruction) -> bytes:
    """An instruction as bytes: its fields that are not their default, by name.

    A name ends with a zero byte; behind it stand a float's or an integer's eight bytes, little
    endian, after an f or an i.
    """
    found = b""
    for field in sorted(fields(instruction), key=lambda field: field.name):
        value = getattr(instruction, field.name)
        if field.name in _SHOWN or (field.name != "op" and value == field.default):
            continue
        packed = struct.pack("<cd", b"f", value) if isinstance(value, float) else b""
        found += field.name.encode() + b"\0" + (packed or struct.pack("<cq", b"i", int(value)))
    return found


def work_hash(image: Image) -> str:
    """24 digits that images share whose tokens take the same cycles.

    Data do not change them: the operations do, and the sizes.
    """
    columns = iter(image.matrices)
    digest = hashlib.sha256(struct.pack("<Q", image.vocab_size))
    for instruction in image.program[1:]:
        bare = replace(instruction, src=0, dst=0, constants=0, immediate=0, stat_shift=0)
        digest.update(canonical(bare))
        if instruction.op is Op.MATVEC:
            digest.update(struct.pack("<Q", next(columns).columns))
    return digest.digest()[:HASH_BYTES].hex()
