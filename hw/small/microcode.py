"""Microprogram of the small core: a word a cycle, each moving one number over one bus."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from amaranth.lib import data

from setun.firmware.core_kinds import SMALL
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.program import kernels
from setun.firmware.program.isa import PLACES, Op
from setun.firmware.program.kernels import Kernel
from setun.firmware.program.registry import Registry
from setun.hw.small.words import Convert, Next, Scalar, Source, To, Where

WORDS = 256


WORD = data.StructLayout(
    {
        "source": 4,
        "negate": 1,
        "to": 4,
        "write": 1,
        "where": 2,
        "scalar": 3,
        "pair": 1,
        "odd": 1,
        "convert": 2,
        "next": 3,
        "target": 8,
        "factor": 1,
        "second": 1,
    }
)


@dataclass
class _Assembler:
    words: list[dict[str, int | str]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def at(self, label: str) -> None:
        self.labels[label] = len(self.words)

    def op(
        self,
        source: Source = Source.MEMORY,
        to: To = To.NOWHERE,
        *,
        write: Where | Scalar | None = None,
        read: Where | Scalar | None = None,
        **rest: Any,
    ) -> None:
        """One word; `write` and `read` share its address, labels are names."""
        assert write is None or read is None
        place = write if write is not None else read
        address = {}
        if isinstance(place, Scalar):
            address = {"where": int(Where.SCALAR), "scalar": int(place)}
        elif place is not None:
            address = {"where": int(place)}
        if "next" not in rest and "target" in rest:
            rest["next"] = Next.JUMP
        self.words.append(
            {"source": source, "to": to, "write": write is not None, **address, **rest}
        )

    def idle(self, count: int, **rest: Any) -> None:
        for _ in range(count):
            self.op(**rest)

    def encode(self) -> list[int]:
        assert len(self.words) <= WORDS, len(self.words)
        out = []
        for word in self.words:
            values = {k: self.labels[v] if isinstance(v, str) else int(v) for k, v in word.items()}
            out.append(WORD.const(values).as_value().value)
        return out


Again = dict[str, Any]
"""What the last word of a row's program goes on with: the next row."""

OPERATIONS: Registry[Op, Callable[[_Assembler], None]] = Registry("the small core's microprogram")
"""Words of an operation, from where it enters to where it is done."""
ROWS: Registry[Kernel, Callable[[_Assembler, Again], None]] = Registry("the small core's rows")
"""Words of a kernel for one row, whose last one has `Again`; then those behind the last row."""

KERNEL_BITS = PLACES["kernel"].bits
ENTRIES = 1 << KERNEL_BITS  # of kernels; those of operations follow


def assembled() -> _Assembler:
    """The program; operations enter at `ENTRIES` + their number, kernels at theirs."""
    a = _Assembler()
    entries = {kernel.code: kernel.name for kernel in SMALL.kernels}
    entries |= {entry(op): f"{op.name}_" for op in OPERATIONS}
    for at in range(max(entries) + 1):
        a.op(target=entries.get(at, "done"), second=at == entry(Op.SCALARS))
    a.at("done")
    a.op(next=Next.DONE)
    for op in OPERATIONS:
        a.at(f"{op.name}_")
        OPERATIONS[op](a)
    for kernel in SMALL.kernels:
        a.at(kernel.name)
        a.op(next=Next.ARRAY)
        a.at(f"{kernel.name}_row")
        ROWS[kernel](a, {"next": Next.ROW, "target": f"{kernel.name}_row"})
        a.op(next=Next.DONE)
        a.at(f"{kernel.name}_end")
    return a


def microprogram() -> list[int]:
    """The words."""
    return assembled().encode()


@cache
def row_words(kernel: Kernel) -> tuple[int, int]:
    """Words of a kernel for each row, and behind the last one."""
    a = assembled()
    first, end = a.labels[f"{kernel.name}_row"], a.labels[f"{kernel.name}_end"]
    last = next(k for k in range(first, end) if a.words[k].get("next") == Next.ROW)
    return last + 1 - first, end - last - 1


def entry(op: Op) -> int:
    """First word of an operation."""
    assert op < ENTRIES
    return ENTRIES | op


@OPERATIONS(Op.SCALARS)
def _scalars(a: _Assembler) -> None:
    a.op(Source.IMMEDIATE, write=Scalar.EPS_OUTER)
    a.op(Source.IMMEDIATE, write=Scalar.EPS_INNER, target="done")


@OPERATIONS(Op.EMBED)
def _embed(a: _Assembler) -> None:
    a.op()
    a.at("embed")
    a.op(Source.CONSTANT, write=Where.DESTINATION, next=Next.LOOP, target="embed")
    a.op(next=Next.DONE)


def _products(a: _Assembler, name: str, odd: int, to: To) -> None:
    """x times a gain, for every element, to `to`; before them a zero, which changes nothing.

    A product is there when the next element's operands have been fetched.
    """
    a.op(Source.ZERO, To.Q, read=Where.SOURCE)
    a.at(name)
    a.op(Source.MEMORY, To.P, pair=1, odd=odd)
    a.op(Source.CONSTANT, To.Q)
    a.op(Source.PRODUCT, to, read=Where.SOURCE, next=Next.LOOP, target=name)
    a.idle(1)
    a.op(Source.PRODUCT, to)


def _mean(a: _Assembler, to: Scalar) -> None:
    """Mean square of what has been summed."""
    a.idle(4, convert=Convert.SUM)
    a.idle(1, convert=Convert.SUM)
    a.idle(1, convert=Convert.SUM)
    a.op(Source.CONVERTED, To.P)
    a.op(Source.IMMEDIATE, To.Q)
    a.idle(2)
    a.op(Source.PRODUCT, write=to)


@OPERATIONS(Op.QUANTISE)
def _quantise(a: _Assembler) -> None:
    a.op(to=To.CLEAR)
    _products(a, "weighted", 0, To.LARGEST)
    a.idle(2)
    _products(a, "weighted_squares", 0, To.SQUARE)
    _mean(a, Scalar.MEAN)
    a.op(next=Next.CHOICE, target="mean_squares", read=Scalar.ROW_SQUARES)
    while len(a.words) % 4:
        a.op()
    a.at("mean_squares")
    a.op(to=To.CLEAR, target="own")
    a.op(Source.MEMORY, To.P, target="array_mean")
    a.op(read=Scalar.EPS_INNER, target="bare")
    a.at("own")
    a.op(read=Where.SOURCE)
    a.at("own_largest")
    a.op(Source.MEMORY, To.LARGEST, read=Where.SOURCE, next=Next.LOOP, target="own_largest")
    a.idle(2)
    a.op(read=Where.SOURCE)
    a.at("own_squares")
    a.op(Source.MEMORY, To.SQUARE, read=Where.SOURCE, next=Next.LOOP, target="own_squares")
    a.idle(6, convert=Convert.SUM)
    a.op(Source.CONVERTED, To.P)
    a.at("array_mean")
    a.op(Source.IMMEDIATE, To.Q)
    a.idle(2, read=Scalar.EPS_OUTER)
    a.op(Source.PRODUCT, To.P, read=Scalar.EPS_OUTER)
    a.op(Source.MEMORY, To.Q)
    a.idle(3, read=Scalar.EPS_INNER)
    a.op(Source.SUM, To.P, read=Scalar.EPS_INNER)
    a.op(Source.MEMORY, To.Q)
    a.idle(2, read=Scalar.MEAN)
    a.op(Source.PRODUCT, To.Q, read=Scalar.MEAN)
    a.op(Source.MEMORY, To.P, target="root")
    a.at("bare")
    a.op(Source.MEMORY, To.Q, read=Scalar.MEAN)
    a.op(Source.MEMORY, To.P)
    a.at("root")
    a.idle(3)
    a.op(Source.SUM, To.P)
    a.idle(2)
    a.op(Source.ROOT, write=Scalar.MEAN)
    a.op(to=To.CLEAR)
    _products(a, "gained", 1, To.LARGEST)
    a.idle(4)
    _products(a, "codes", 1, To.CODE)
    a.op(Source.LARGEST, To.P, read=Scalar.MEAN)
    a.op(Source.MEMORY, To.Q)
    a.idle(2)
    a.op(Source.PRODUCT, write=Scalar.SCALE)
    a.op(next=Next.DONE)


@OPERATIONS(Op.MATVEC)
def _row_scale(a: _Assembler) -> None:
    a.op(to=To.CLEAR, read=Scalar.SCALE)
    a.op(Source.MEMORY, To.P)
    a.op(Source.IMMEDIATE, To.Q)
    a.idle(2)
    a.op(Source.PRODUCT, write=Scalar.ROW_SCALE, next=Next.CHOICE, target=0)


def _scaled(a: _Assembler, beside: Where | None = None) -> None:
    """A row times its scale, in PRODUCT for the next word; `beside`: a term that waits in Q."""
    a.op(read=Scalar.ROW_SCALE)
    a.op(Source.MEMORY, To.Q)
    a.op(Source.CONVERTED, To.P, read=beside)
    # The term takes the place of the factor, which is on its way.
    a.op(Source.MEMORY, To.Q if beside is not None else To.NOWHERE)
    a.idle(1)


@ROWS(kernels.COPY)
def _copy(a: _Assembler, again: Again) -> None:
    _scaled(a)
    a.op(Source.PRODUCT, write=Where.DESTINATION, **again)


@ROWS(kernels.SILU)
def _silu(a: _Assembler, again: Again) -> None:
    _scaled(a)
    a.op(Source.PRODUCT, To.P)
    a.idle(5)
    a.op(Source.SIGMOID, To.Q)
    a.idle(2)
    a.op(Source.PRODUCT, write=Where.DESTINATION, **again)


@ROWS(kernels.MLGRU)
def _mlgru(a: _Assembler, again: Again) -> None:
    _scaled(a)
    a.op(Source.PRODUCT, To.P, negate=1)
    a.idle(5)
    a.op(Source.SIGMOID, To.P)
    a.op(Source.CONSTANT, To.Q)
    a.idle(2)
    a.op(Source.PRODUCT, To.P, read=Where.SOURCE)
    a.op(Source.MEMORY, To.Q)
    # The units still hold u; its product with the candidate is on its way.
    a.op(Source.PRODUCT, To.Q, negate=1, read=Scalar.ONE)
    a.op(Source.MEMORY, To.P)
    a.op(Source.PRODUCT, write=Scalar.KEPT)
    a.idle(2, read=Where.STATE)
    a.op(Source.SUM, To.P, read=Where.STATE)
    a.op(Source.MEMORY, To.Q)
    a.idle(2, read=Scalar.KEPT)
    a.op(Source.PRODUCT, To.P, read=Scalar.KEPT)
    a.op(Source.MEMORY, To.Q)
    a.idle(3)
    a.op(Source.SUM, write=Where.STATE)
    a.op(Source.SUM, write=Where.SOURCE, **again)


@ROWS(kernels.GLU)
def _glu(a: _Assembler, again: Again) -> None:
    """y times silu of the source, and the sum of squares of all y.

    Units are pipelines: sigmoid and products finish after their operands have been replaced.
    """
    a.op(read=Where.SOURCE)
    a.op(Source.MEMORY, To.P, read=Scalar.ROW_SCALE)
    a.op(Source.MEMORY, To.Q)
    a.op(Source.CONVERTED, To.P)
    a.op(read=Where.SOURCE)
    a.op(Source.MEMORY, To.P)
    a.op(Source.PRODUCT, To.ROW_SQUARE, write=Scalar.KEPT)
    a.op(Source.SIGMOID, To.Q, read=Scalar.KEPT)
    a.op(Source.MEMORY, To.Q)
    a.idle(1)
    a.op(Source.PRODUCT, To.P)
    a.idle(2)
    a.op(Source.PRODUCT, write=Where.DESTINATION, **again)
    a.idle(5, convert=Convert.ROW_SUM, read=Scalar.ROW_SCALE)
    a.op(Source.MEMORY, To.P, convert=Convert.ROW_SUM, read=Scalar.ROW_SCALE)
    a.op(Source.MEMORY, To.Q, convert=Convert.ROW_SUM)
    a.idle(2, convert=Convert.ROW_SUM)
    a.op(Source.PRODUCT, To.Q, convert=Convert.ROW_SUM)
    a.op(Source.CONVERTED, To.P)
    a.idle(2)
    a.op(Source.PRODUCT, write=Scalar.ROW_SQUARES)


@ROWS(kernels.ADD)
def _add(a: _Assembler, again: Again) -> None:
    _scaled(a, Where.SOURCE)
    a.op(Source.PRODUCT, To.P)
    a.idle(3)
    a.op(Source.SUM, write=Where.DESTINATION, **again)


@ROWS(kernels.SAMPLE)
def _sample(a: _Assembler, again: Again) -> None:
    _scaled(a)
    a.op(Source.PRODUCT, To.KEY_GREEDY)
    a.op(Source.PRODUCT, To.P)
    a.op(Source.IMMEDIATE, To.Q, factor=1)
    a.idle(2)
    a.op(Source.PRODUCT, To.KEY_RANDOM)
    a.idle(4)
    a.op(**again)


assert {m.value for m in MeanSquare if SMALL.has(m)} == {0, 1, 2}
