"""Kernels: what happens to the rows of a matrix on their way from the array to memory.

A kernel is one record. Listing, checks, float and golden model take from it what they need. A chip
has units for it: `setun.hw.vector.kernel` has a table of lanes, `setun.hw.small.microcode` one of
microprograms.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError

Array = NDArray[np.floating[Any]]
NONE: Array = np.zeros(0)


class Port(Enum):
    """Where operands beside the row come from, and where results go: n elements each."""

    SOURCE = "vector[src]"
    DESTINATION = "vector[dst]"
    STATE = "state[dst]"
    GATES = "gates[dst]"
    STATISTIC = "sum of squares of the rows"
    LOGITS = "sampler"


class Step(Enum):
    """What an element passes on its way through a lane; each takes a fixed number of cycles."""

    SIGMOID = "sigmoid"
    PRODUCT = "product"
    FORGET = "what a state keeps"
    STATE_SUM = "sum in the state's width"
    SUM = "sum"
    ROUND = "rounding to the state's format, and from there to the vectors'"


class Compute(Protocol):
    """Operations that meanings are made of: the chip's `Arithmetic`, or real numbers."""

    def r(self, x: Any) -> Any:
        """A sum, rounded."""

    def mul(self, a: Any, b: Any) -> Any:
        """A product, rounded."""

    def sigmoid(self, x: Any) -> Any:
        """A sigmoid, rounded."""

    def remember(self, u: Any, h: Any, a: Any, noise: Any) -> Any:
        """The state (1-u)*h + u*a."""


class Operands(NamedTuple):
    """What a kernel computes with, [.., n]; ports that it does not read hold anything."""

    row: Array
    source: Array = NONE
    gates: Array = NONE
    state: Array = NONE
    noise: NDArray[np.int64] | None = None
    """Of the state's rounding, if it is at random."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Kernel:
    """One kernel; there is one object of each, so `is` tells them apart.

    Parameters
    ----------
    code
        In the `kernel` field of an instruction.
    name
        In image files and listings.
    formula
        For people: what it makes of a row y, whose operands are named as in `meaning`.
    listing
        Format of a line of a program, of `n`, `src` and `dst`.
    meaning
        The result, by the chip's arithmetic or by real numbers. If STATE is written, it is the
        state, and vectors get it rounded to their format.
    path
        Steps of an element, in order.
    reads, writes
        Ports.
    ahead
        The path begins with the element from `SOURCE`, before its row is there.
    """

    code: int
    name: str
    formula: str
    listing: str
    meaning: Callable[[Compute, Operands], Any]
    path: tuple[Step, ...]
    writes: frozenset[Port]
    reads: frozenset[Port] = field(default=frozenset())
    ahead: bool = False

    def __repr__(self) -> str:
        return self.name

    def __index__(self) -> int:
        return self.code

    def __reduce__(self) -> tuple[Callable[[str], "Kernel"], tuple[str]]:
        return named, (self.name,)

    @cached_property
    def stores(self) -> Port | None:
        """Where its vector goes: SOURCE, DESTINATION or nowhere."""
        vectors = self.writes & {Port.SOURCE, Port.DESTINATION}
        return next(iter(vectors), None)

    @cached_property
    def gated(self) -> bool:
        """Whether it keeps a recurrent state."""
        return Port.STATE in self.writes

    @cached_property
    def summed(self) -> bool:
        """Whether the sum of its rows' squares is kept."""
        return Port.STATISTIC in self.writes

    @cached_property
    def samples(self) -> bool:
        """Whether its rows are logits."""
        return Port.LOGITS in self.writes


def _mlgru(compute: Compute, x: Operands) -> Any:
    u = compute.mul(x.gates, compute.sigmoid(-x.row))
    return compute.remember(u, x.state, x.source, x.noise)


def _glu(compute: Compute, x: Operands) -> Any:
    silu = compute.mul(x.source, compute.sigmoid(x.source))
    return compute.mul(x.row, silu)


def _silu(compute: Compute, x: Operands) -> Any:
    return compute.mul(x.row, compute.sigmoid(x.row))


def _add(compute: Compute, x: Operands) -> Any:
    return compute.r(x.source + x.row)


def _relu2(compute: Compute, x: Operands) -> Any:
    positive = np.maximum(x.source, 0.0)
    return compute.mul(x.row, compute.mul(positive, positive))


def _row(compute: Compute, x: Operands) -> Any:
    return x.row


COPY = Kernel(
    code=0,
    name="COPY",
    formula="y",
    listing="v[{dst}:+{n}] = y",
    meaning=_row,
    path=(Step.SUM,),
    writes=frozenset({Port.DESTINATION}),
)
SILU = Kernel(
    code=1,
    name="SILU",
    formula="y · sigmoid(y)",
    listing="v[{dst}:+{n}] = silu(y)",
    meaning=_silu,
    path=(Step.SIGMOID, Step.PRODUCT),
    writes=frozenset({Port.DESTINATION}),
)
MLGRU = Kernel(
    code=2,
    name="MLGRU",
    formula="u = c · sigmoid(−y); state = (1 − u) · state + u · source",
    listing="v[{src}] = h[{dst}:+{n}] = mlgru(y, v[{src}])",
    meaning=_mlgru,
    path=(Step.SIGMOID, Step.PRODUCT, Step.FORGET, Step.STATE_SUM, Step.ROUND),
    reads=frozenset({Port.SOURCE, Port.STATE, Port.GATES}),
    writes=frozenset({Port.SOURCE, Port.STATE}),
)
GLU = Kernel(
    code=3,
    name="GLU",
    formula="y · silu(source)",
    listing="v[{dst}:+{n}] = y*silu(v[{src}])",
    meaning=_glu,
    path=(Step.SIGMOID, Step.PRODUCT, Step.PRODUCT),
    reads=frozenset({Port.SOURCE}),
    writes=frozenset({Port.DESTINATION, Port.STATISTIC}),
    ahead=True,
)
ADD = Kernel(
    code=4,
    name="ADD",
    formula="source + y",
    listing="v[{dst}:+{n}] = v[{src}] + y",
    meaning=_add,
    path=(Step.SUM,),
    reads=frozenset({Port.SOURCE}),
    writes=frozenset({Port.DESTINATION}),
)
SAMPLE = Kernel(
    code=5,
    name="SAMPLE",
    formula="a logit: the largest wins, with temperature after noise",
    listing="token = sample(y[:{n}])",
    meaning=_row,
    path=(),
    writes=frozenset({Port.LOGITS}),
)

RELU2 = Kernel(
    code=6,
    name="RELU2",
    formula="y · relu(source)²",
    listing="v[{dst}:+{n}] = y*relu(v[{src}])^2",
    meaning=_relu2,
    path=(Step.SIGMOID, Step.PRODUCT, Step.PRODUCT),  # the positive part takes the sigmoid's time
    reads=frozenset({Port.SOURCE}),
    writes=frozenset({Port.DESTINATION}),
    ahead=True,
)

KERNELS: list[Kernel] = [COPY, SILU, MLGRU, GLU, ADD, SAMPLE, RELU2]
"""All that there are."""


def named(name: str) -> Kernel:
    """The kernel of this name.

    Raises
    ------
    SetunError
        There is none.
    """
    for kernel in KERNELS:
        if kernel.name == name:
            return kernel
    raise SetunError("kernel", f"must be one of {', '.join(k.name for k in KERNELS)}", name[:40])


def coded(code: int) -> Kernel:
    """The kernel of this code.

    Raises
    ------
    SetunError
        There is none.
    """
    for kernel in KERNELS:
        if kernel.code == code:
            return kernel
    raise SetunError("kernel", f"must be one of {', '.join(str(k.code) for k in KERNELS)}", code)
