"""Comparison of arrays with a report that says where, what was expected and what came."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from setun.firmware.numerics.formats import Format

SHOWN = 8  # differences listed


class Mismatch(AssertionError):
    """Got differs from expected; `str()` is the report, `count` the number of differences."""

    def __init__(self, report: str, count: int) -> None:
        super().__init__(report)
        self.count = count


def _word(value: int, width: int, fmt: Format | None) -> str:
    digits = (width + 3) // 4
    text = f"{value} 0x{value & ((1 << width) - 1):0{digits}x}"
    return text if fmt is None else f"{text} ({float(fmt.from_bits(value)):.8g})"


def compare(
    name: str,
    expected: ArrayLike,
    got: ArrayLike,
    fmt: Format | None = None,
    *,
    layer: int | None = None,
    unit: str | None = None,
    inputs: Mapping[str, ArrayLike] | None = None,
    width: int = 32,
) -> None:
    """Raise `Mismatch` unless two integer arrays of any equal shape agree everywhere.

    Parameters
    ----------
    name
        What the arrays are: a vector, a port, a token sequence.
    fmt
        When given, the integers are bit patterns and are shown as numbers too.
    layer, unit
        Where in the chip, for the report.
    inputs
        Arrays of the same shape, shown at the indices that differ.
    width
        Bits shown in hexadecimal; `fmt.width` when `fmt` is given.
    """
    want, have = np.asarray(expected), np.asarray(got)
    width = fmt.width if fmt else width
    place = " ".join(
        [*([f"layer {layer}"] if layer is not None else []), *([f"unit {unit}"] if unit else [])]
    )
    title = f"{place} {name}".strip()
    if want.shape != have.shape:
        raise Mismatch(f"{title}: expected shape {want.shape}, got {have.shape}", 1)
    different = np.argwhere(want != have)
    if not len(different):
        return
    lines = [f"{title}: {len(different)} of {want.size} differ"]
    for where in different[:SHOWN]:
        at = tuple(int(i) for i in where)
        line = (
            f"  index {','.join(map(str, at)) or '-'}:"
            f" expected {_word(int(want[at]), width, fmt)},"
            f" got {_word(int(have[at]), width, fmt)}"
        )
        for port, values in (inputs or {}).items():
            value = int(np.asarray(values)[at])
            line += f", {port} {value} 0x{value & ((1 << 64) - 1):x}"
        lines.append(line)
    if len(different) > SHOWN:
        lines.append(f"  ... and {len(different) - SHOWN} more")
    raise Mismatch("\n".join(lines), len(different))
