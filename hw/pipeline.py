"""Small idioms of fixed-latency pipelines."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.utils import ceil_log2


def delayed(m: Module, value: Value, cycles: int, name: str, *, reset: bool = False) -> Value:
    """`value`, `cycles` cycles later. `reset` for flags that must start low."""
    for k in range(cycles):
        stage = Signal(value.shape(), name=f"{name}_d{k + 1}", reset_less=not reset)
        m.d.sync += stage.eq(value)
        value = stage
    return value


def tree(
    m: Module, values: Sequence[Value], join: Callable[[Value, Value], Value], name: str
) -> Value:
    """All of a power of two of `values` joined pairwise, a register behind every level."""
    level = 0
    while len(values) > 1:
        joined = []
        for k, (a, b) in enumerate(zip(values[::2], values[1::2], strict=True)):
            result = join(a, b)
            stage = Signal(result.shape(), name=f"{name}_{level}_{k}", reset_less=True)
            m.d.sync += stage.eq(result)
            joined.append(stage)
        values = joined
        level += 1
    return values[0]


def tree_latency(count: int) -> int:
    """Cycles through a `tree` of `count` values."""
    return ceil_log2(count)


def larger(a: Value, b: Value) -> Value:
    """The larger of two numbers."""
    return Mux(a > b, a, b)
