"""Instruction set of the chip: its one declaration, read by all that write or read programs.

Encoder, decoder, listing, checks, the sequencer, the small core's control and the table in
docs/registers.md take operations, fields and places from here. The program is straight-line code in
execution order: a body (embed one token, run all layers) and, behind its `END`, a head (logits of
the current token, sample). Elements, not memory words, are addressed, so one program serves every
chip whatever its lanes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, IntEnum, StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.firmware.program import kernels
from setun.firmware.program.kernels import Kernel

VERSION, WIDE_VERSION = 1, 2
"""Of operations, fields and `PLACES` or `WIDE`; kernels may be added within a version."""
WORDS = 4  # 32-bit words of one instruction
WORD_BITS = 32

INT8_ONE = 127  # code of a vector's largest number
INT8_BITS = 8


class Table(StrEnum):
    """Numbers of a model that instructions address."""

    CONSTANTS = "constants"  # [n, 2], QUANTISE: outer gain, outer times inner gain
    EMBEDDING = "embedding"  # [vocabulary, width], EMBED: a row a token
    GATES = "gates"  # [state elements], MLGRU: c at its state's address
    ROPE = "rope"  # [half a head], ROTATE: what each pair turns a position, 2**-24 of a turn


class Kind(Enum):
    """What a field holds."""

    WHOLE = "whole number"
    FLAG = "flag"
    FLOAT = "number of the vector format"
    KERNEL = "kernel"
    MEAN_SQUARE = "mean square"


@dataclass(frozen=True)
class Place:
    """Bits `low` to `low` + `bits` - 1 of a word; they count in steps of `grain`."""

    word: int
    low: int
    bits: int
    grain: int = 1


PLACES = {
    "op": Place(0, 0, 4),
    "kernel": Place(0, 4, 3),
    "sync": Place(0, 4, 1),
    "mean_square": Place(0, 5, 2),
    "stream": Place(0, 7, 1),
    "keep": Place(0, 7, 1),
    "planes": Place(0, 8, 1),
    "grouped": Place(0, 15, 1),
    "stat_shift": Place(0, 9, 5),
    "group": Place(0, 4, 8),
    "of_values": Place(0, 4, 1),
    "apart": Place(1, 16, 16),
    "feeds": Place(0, 14, 1),
    "n": Place(0, 16, 16),
    "src": Place(1, 0, 16),
    "dst": Place(1, 16, 16),
    "constants": Place(2, 0, 32),
    "block": Place(2, 0, 32),
    "immediate": Place(3, 0, 32),
}
"""Every field's bits, the same in all operations that have it, of a program in block RAM."""
WIDE = PLACES | {
    "feeds": Place(0, 8, 1),
    "planes": Place(0, 9, 1),
    "grouped": Place(0, 10, 1),
    "n": Place(0, 12, 20),
    "src": Place(1, 0, 16, 64),
    "dst": Place(1, 16, 16, 64),
    "block": Place(2, 0, 24),
    "stat_shift": Place(2, 24, 5),
}
"""Those of a program in an external memory: heads of 2^20 rows, 2^22 elements of state."""
Places = Mapping[str, Place]
MOST_TOKENS = 1 << 18
"""Of a vocabulary."""


@dataclass(frozen=True)
class Field:
    """A field of an operation: the attribute `name` of `Instruction`."""

    name: str
    kind: Kind
    meaning: str

    def encode(self, value: Any, fmt: Format) -> int:
        """Bits of `value`; more than the field has if it does not fit."""
        if self.kind is Kind.FLOAT:
            return int(fmt.to_bits(value)[0])
        return value.code if isinstance(value, Kernel) else int(value)

    def decode(self, bits: int, fmt: Format) -> Any:
        """Value of bits; raises `SetunError` for a code that means nothing."""
        if self.kind is Kind.FLOAT:
            return float(fmt.from_bits(bits))
        if self.kind is Kind.KERNEL:
            return kernels.coded(bits)
        if self.kind is Kind.MEAN_SQUARE:
            return MeanSquare(bits)
        return bool(bits) if self.kind is Kind.FLAG else bits


def _whole(name: str, meaning: str) -> Field:
    return Field(name, Kind.WHOLE, meaning)


def _flag(name: str, meaning: str) -> Field:
    return Field(name, Kind.FLAG, meaning)


class Op(IntEnum):
    """Operations. 0 is left out: blank memory is not a program."""

    meaning: str
    listing: str
    fields: tuple[Field, ...]

    def __new__(cls, code: int, meaning: str, listing: str, *fields: Field) -> "Op":
        """An operation with its meaning, the format of its listing and its fields."""
        op = int.__new__(cls, code)
        op._value_ = code
        op.meaning, op.listing, op.fields = meaning, listing, fields
        return op

    MODEL = (
        1,
        "nothing; its fields hold the model's hash",
        "",
        _whole("src", "bytes 0 and 1"),
        _whole("dst", "bytes 2 and 3"),
        _whole("constants", "bytes 4 to 7"),
        _whole("immediate", "bytes 8 to 11"),
    )
    SCALARS = (
        2,
        "sets the two epsilons",
        "eps_outer={constants:g} eps_inner={immediate:g}",
        Field("constants", Kind.FLOAT, "of the outer norm"),
        Field("immediate", Kind.FLOAT, "of the inner norm"),
    )
    EMBED = (
        3,
        "vector[dst:+n] = the token's embedding row",
        "v[{dst}:+{n}] = e[{constants}+{immediate}*token]",
        _whole("n", "elements"),
        _whole("dst", "first element of the vector"),
        _whole("constants", "first pair of row 0, or its first beat"),
        _whole("immediate", "pairs, or beats, from row to row"),
    )
    QUANTISE = (
        4,
        "normalises and quantises vector[src:+n] into the next slot",
        "slot <- v[{src}:+{n}] gains={constants} mean_square={mean_square}",
        _flag("sync", "wait until every earlier matvec has been stored"),
        Field("mean_square", Kind.MEAN_SQUARE, "which mean square joins the epsilon"),
        _flag("stream", "take the maxima while the matvec before stores the vector"),
        _whole("n", "elements"),
        _whole("src", "first element of the vector"),
        _whole("constants", "first pair of gains"),
        Field("immediate", Kind.FLOAT, "1/n"),
    )
    MATVEC = (
        5,
        "the next ternary matrix times the oldest slot, into a kernel",
        "{kernel} scale={immediate:.4g}",
        Field("kernel", Kind.KERNEL, "what happens to the rows"),
        _flag("keep", "leave the slot for the next matvec"),
        _flag("planes", "the matrix has five-trit weights and a scale a row"),
        _flag("grouped", "the matrix has scales of groups of 128 columns"),
        _whole("stat_shift", "bits dropped from accumulators before they are squared"),
        _flag("feeds", "the next instruction is a QUANTISE with `stream` of these rows"),
        _whole("n", "rows"),
        _whole("src", "first element that the kernel reads"),
        _whole("dst", "first element that it writes"),
        _whole("block", "weight words of the matrix on this chip, or where its gates lie"),
        Field("immediate", Kind.FLOAT, "weight scale / 127, or the scale itself for codes in fp8"),
    )
    END = (6, "end of the body, end of the head", "")
    ROTATE = (
        7,
        "turns each head of vector[src:+n] by RoPE at the token's position",
        "v[{src}:+{n}] = rope(v[{src}:+{n}]) heads={block} turns={immediate}",
        _whole("n", "elements of all heads"),
        _whole("src", "first element of the vector"),
        _whole("block", "elements of a head"),
        _whole("immediate", "first of the phases that pairs gain a position"),
    )
    CACHE = (
        8,
        "cache[immediate:+n] at the token's position = codes of each head of vector[src:+n]",
        "c[{immediate}:+{n}] = codes(v[{src}:+{n}]) heads={block}",
        _whole("n", "elements of all heads"),
        _whole("src", "first element of the vector"),
        _whole("block", "elements of a head"),
        _whole("immediate", "first element of the cache's region"),
        _flag("of_values", "they are values, not keys"),
    )
    ATTEND = (
        9,
        "each head of vector[src:+n] = attention of its query over the cache",
        "v[{src}:+{n}] = attention(v[{src}:+{n}], c[{immediate}], c[+{apart}]) heads={block}",
        _whole("n", "elements of all queries"),
        _whole("src", "first element of the vector"),
        _whole("apart", "elements from the keys' region to the values'"),
        _whole("block", "elements of a head"),
        _whole("group", "heads of queries that share a head of keys"),
        _whole("immediate", "first element of the keys' region"),
    )
    NORM = (
        10,
        "each head of vector[src:+n] times gains over the root of its sum of squares",
        "v[{src}:+{n}] = norm(v[{src}:+{n}]) heads={block} gains={immediate}",
        _whole("n", "elements of all heads"),
        _whole("src", "first element of the vector"),
        _whole("block", "elements of a head"),
        _whole("immediate", "first pair of gains"),
    )


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One decoded instruction; fields that its operation has not are as they are here.

    Floats are real numbers, rounded to the chip's format when encoded.
    """

    op: Op
    n: int = 0
    src: int = 0
    dst: int = 0
    constants: int | float = 0
    block: int = 0
    apart: int = 0
    group: int = 0
    of_values: bool = False
    immediate: int | float = 0
    sync: bool = False
    stream: bool = False
    mean_square: MeanSquare = MeanSquare.OWN
    kernel: Kernel = kernels.COPY
    keep: bool = False
    planes: bool = False
    grouped: bool = False
    feeds: bool = False
    stat_shift: int = 0
    note: str = ""
    """For people: which tensor."""

    def adapted(self, numerics: Numerics) -> "Instruction":
        """The instruction for codes of `numerics`: programs are written for int8's."""
        if self.op is not Op.MATVEC or not numerics.fp8:
            return self
        return replace(
            self,
            immediate=float(self.immediate) * INT8_ONE,
            stat_shift=self.stat_shift + numerics.code_bits - INT8_BITS,
        )

    def rounded(self, fmt: Format) -> "Instruction":
        """The instruction as a chip reads it, floats in `fmt`."""
        floats = [f.name for f in self.op.fields if f.kind is Kind.FLOAT]
        values: dict[str, Any] = {name: fmt.round1(getattr(self, name)) for name in floats}
        return replace(self, **values)

    def check(self, places: Places = PLACES) -> None:
        """Refuse values that do not fit their fields, of kinds that encode to whole numbers.

        Raises
        ------
        SetunError
            Names the field and its bits.
        """
        for field in self.op.fields:
            if field.kind is Kind.FLOAT:
                continue
            value, place = getattr(self, field.name), places[field.name]
            code = value.code if isinstance(value, Kernel) else value
            thing = f"instruction {self.op.name} {self.note[:80]}".rstrip()
            if code % place.grain:
                raise SetunError(thing, f"{field.name} must be a multiple of {place.grain}", code)
            if not 0 <= code // place.grain < 1 << place.bits:
                bits = place.bits + place.grain.bit_length() - 1
                raise SetunError(thing, f"{field.name} must fit {bits} bits", code)

    def encode(self, fmt: Format, places: Places = PLACES) -> NDArray[np.uint32]:
        """The words of the instruction, floats in `fmt`."""
        self.check(places)
        words = [0] * WORDS
        words[places["op"].word] |= self.op << places["op"].low
        for field in self.op.fields:
            place = places[field.name]
            code = field.encode(getattr(self, field.name), fmt) // place.grain
            words[place.word] |= code << place.low
        return np.array(words, np.uint32)

    @classmethod
    def decode(
        cls, words: Sequence[int], fmt: Format, note: str = "", places: Places = PLACES
    ) -> "Instruction":
        """Inverse of `encode`, up to the floats' rounding; bits of no field are ignored.

        Raises
        ------
        SetunError
            An operation, a kernel or another code that means nothing.
        """
        found = _bits(words, places["op"])
        op = next((op for op in Op if op == found), None)
        if op is None:
            raise SetunError("operation", f"must be {min(Op)} to {max(Op)}", found)
        values = {f.name: f.decode(_bits(words, places[f.name]), fmt) for f in op.fields}
        return cls(op=op, note=note, **values)

    def __str__(self) -> str:
        """The line of a listing."""
        shown: dict[str, Any] = {f.name: getattr(self, f.name) for f in self.op.fields}
        for name, value in shown.items():
            if isinstance(value, Kernel):
                shown[name] = value.listing.format(n=self.n, src=self.src, dst=self.dst)
            elif isinstance(value, MeanSquare):
                shown[name] = value.name.lower()
        text = self.op.listing.format(**shown)
        for field in self.op.fields:
            if field.kind is Kind.FLAG and shown[field.name]:
                text += f" {field.name}"
        return f"{self.op.name:<9}{text:<78}{self.note}".rstrip()


def _bits(words: Sequence[int], place: Place) -> int:
    return place.grain * (int(words[place.word]) >> place.low & ((1 << place.bits) - 1))
