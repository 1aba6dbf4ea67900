"""Cores that a chip may have, as everything but gateware needs to know them.

A core is one object here, and one in each table that is keyed by its name: `setun.hw.cores`,
`setun.estimate.cores`. `tests/` refuses a core that a table lacks.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from setun.firmware.errors import SetunError
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.numerics.options import Numerics
from setun.firmware.program import kernels
from setun.firmware.program.isa import Field, Instruction, Kind, Op
from setun.firmware.program.kernels import Kernel

if TYPE_CHECKING:
    from setun.firmware.config import ChipConfig


_CODED = (Kind.KERNEL, Kind.MEAN_SQUARE)


class CoreKind:
    """Limits and order of work of one core; which one a chip has, its memory's kind says.

    Members
    -------
    name
        Of the core in tables.
    ends
        Tokens that the core can know as ends of a text.
    streams
        Whether it reads a model whole from a memory outside; else weights alone.
    without
        What a program may say and the core has no units for.
    """

    name: str
    ends: int
    streams = False
    without: tuple[Op | Kernel | MeanSquare, ...] = (
        Op.ROTATE,
        Op.CACHE,
        Op.ATTEND,
        Op.NORM,
        kernels.RELU2,
        MeanSquare.UNIT,
    )

    def equipped(self, *, attends: bool, norms: bool) -> "CoreKind":
        """The core with or without a unit of attention, and one that norms heads too.

        Itself where there is none to have.
        """
        return self

    def has(self, thing: Op | Kernel | MeanSquare) -> bool:
        """Whether there are units for it."""
        return not any(thing is each for each in self.without)

    @property
    def operations(self) -> list[Op]:
        """Those of the instruction set that there are units for."""
        return [op for op in Op if self.has(op)]

    @property
    def kernels(self) -> list[Kernel]:
        """Likewise."""
        return [kernel for kernel in kernels.KERNELS if self.has(kernel)]

    def codes(self, field: Field) -> list[int] | None:
        """Codes of a field that mean something to the core; None for numbers, all of which do."""
        if field.kind is Kind.KERNEL:
            return [kernel.code for kernel in self.kernels]
        if field.kind is Kind.MEAN_SQUARE:
            return [int(mean_square) for mean_square in MeanSquare if self.has(mean_square)]
        return None

    def check_program(self, program: Sequence[Instruction]) -> None:
        """Refuse a program that needs other units: SetunError names the first."""
        for at, do in enumerate(program):
            used: list[Op | Kernel | MeanSquare] = [do.op]
            used += [getattr(do, f.name) for f in do.op.fields if f.kind in _CODED]
            for thing in used:
                if thing is Op.MATVEC and do.grouped:
                    raise SetunError(
                        f"model's instruction {at} {do.op.name} {do.note[:80]}".rstrip(),
                        "must be of a matrix with one scale",
                        "scales of groups",
                        "setun run --backend golden runs the model",
                    )
                if not self.has(thing):
                    name = thing.name if isinstance(thing, IntEnum) else str(thing)
                    raise SetunError(
                        f"model's instruction {at} {do.op.name} {do.note[:80]}".rstrip(),
                        f"must be one that the {self.name} core has units for",
                        name,
                        "setun run --backend golden runs the model",
                    )

    def check(self, config: "ChipConfig") -> None:
        """Refuse what the core has no units for: SetunError."""
        raise NotImplementedError

    def panel(self, config: "ChipConfig") -> int:
        """Row groups that the array takes through a block of columns before the next block."""
        raise NotImplementedError


class ParallelKind(CoreKind):
    """Units side by side, `lanes` elements wide: `setun.hw.core`."""

    name = "parallel"
    ends = 4
    streams = True

    def __init__(self, *, attends: bool = False, norms: bool = False) -> None:
        self.units = attends, attends and norms
        if attends:
            self.without = () if norms else (Op.NORM,)

    def equipped(self, *, attends: bool, norms: bool) -> CoreKind:
        """Whether programs may attend, and norm heads, are options of the chip."""
        if self.units == (attends, attends and norms):
            return self
        if not attends:
            return PARALLEL
        return NORMING if norms else ATTENDING

    def check(self, config: "ChipConfig") -> None:
        """Refuse sizes that are no powers of two."""
        for name in ("columns", "rows", "lanes"):
            value = getattr(config, name)
            if value < 1 or value & (value - 1):
                raise SetunError(name, "must be a power of two", value)

    def panel(self, config: "ChipConfig") -> int:
        """As many as cycles pass until the next block's codes are made; few, to be done early."""
        return min(max(4, config.columns // config.lanes), 16)


class SmallKind(CoreKind):
    """One number after the other, for the smallest FPGAs: `setun.hw.small`."""

    name = "small"
    ends = 1  # an FPGA of its size is full
    rows = 10  # two bytes of trits
    token_bits = 16

    def check(self, config: "ChipConfig") -> None:
        """Refuse all but the one shape of its array, and other numerics than the default's."""
        needed = {
            "columns": 1,
            "rows": self.rows,
            "pump": 1,
            "lanes": 1,
            "contexts": 1,
            "packing": "1.6b",
            "token_bits": self.token_bits,
            "five_trits": 0,
            "attention": 0,
        }
        for name, value in needed.items():
            if getattr(config, name) != value:
                rule = f"must be {value} with memory {config.memory}"
                raise SetunError(name, rule, getattr(config, name))
        n = config.numerics
        if n != Numerics(vector=n.vector) or n.vector.width > 16:
            raise SetunError(
                "numerics",
                "must be the default but for a vector format of at most 16 bits "
                f"with memory {config.memory}",
                str(n.to_dict()),
                "vector = [6, 9]",
            )

    def panel(self, config: "ChipConfig") -> int:
        """A row group after the other."""
        return 1


PARALLEL, ATTENDING, SMALL = ParallelKind(), ParallelKind(attends=True), SmallKind()
NORMING = ParallelKind(attends=True, norms=True)
"""The parallel core with every unit that it may have."""
CORES: dict[str, CoreKind] = {core.name: core for core in (PARALLEL, SMALL)}
