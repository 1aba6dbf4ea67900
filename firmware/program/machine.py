"""The machine that programs are written for, as one walk over their instructions.

Whatever follows a program (golden model, float meaning, checks, cycle estimates, memory layout)
takes `steps`, and acts on them as a `Visitor`, with a method for each operation: one that lacks an
operation cannot even be imported.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.image.matrix import Matrix
from setun.firmware.program.isa import Instruction, Op


@dataclass(frozen=True)
class Step:
    """One instruction where it stands.

    Parameters
    ----------
    at
        Its number in the program.
    do
        The instruction.
    matrix, number
        The matrix that a MATVEC takes, the next of the image, and which one that is; None where
        there is none left, or none is needed.
    following
        The instruction behind it.
    """

    at: int
    do: Instruction
    matrix: Matrix | None
    number: int
    following: Instruction | None


class Visitor:
    """Base of what walks over programs: a method an operation, named like it, of a `Step`."""

    def __init_subclass__(cls) -> None:
        """Refuse a visitor that lacks an operation."""
        super().__init_subclass__()
        if missing := lacks(cls):
            raise SetunError(cls.__name__, "must have a method for every operation", missing[0])


def lacks(visitor: type) -> list[str]:
    """Names of the operations that a visitor has no method for."""
    return [op.name for op in Op if not hasattr(visitor, op.name.lower())]


def nothing(visitor: Any, step: Step) -> None:
    """What a visitor does about an operation that means nothing to it."""


def refused(visitor: Any, step: Step) -> NoReturn:
    """What a visitor of a core's programs does about an operation that no core has."""
    raise SetunError("program", "must be one of operations that the core has", step.do.op.name)


def steps(image: Image) -> list[Step]:
    """The program in order, each MATVEC with its matrix."""
    found, number = [], 0
    for at, do in enumerate(image.program):
        matrix = None
        if do.op is Op.MATVEC and number < len(image.matrices):
            matrix = image.matrices[number]
        following = image.program[at + 1] if at + 1 < len(image.program) else None
        found.append(Step(at, do, matrix, number, following))
        number += do.op is Op.MATVEC
    return found


def body_and_head(image: Image) -> tuple[list[Step], list[Step]]:
    """What runs for each token, and what for each sample: up to an END each, and with it."""
    every = steps(image)
    ends = [step.at + 1 for step in every if step.do.op is Op.END]
    return every[: ends[0]], every[ends[0] : ends[1]]


def bound(visitor: Visitor, some: Iterable[Step]) -> list[tuple[Callable[[Step], None], Step]]:
    """Each step with the visitor's method for it."""
    return [(getattr(visitor, step.do.op.name.lower()), step) for step in some]


def walk(visitor: Visitor, some: Sequence[Step]) -> None:
    """Visit the steps in order."""
    for visit, step in bound(visitor, some):
        visit(step)
