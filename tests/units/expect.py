"""What the golden model's arithmetic makes of single vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.checkpoint import ModelConfig
from setun.firmware.compiler import Image
from setun.firmware.formats import Format
from setun.firmware.functions import sigmoid
from setun.firmware.isa import Instruction, Kernel, MeanSquare, Op
from setun.firmware.numerics import Numerics
from setun.sim.golden import GoldenModel

Bits = NDArray[np.int64]


def quantised(
    numerics: Numerics,
    x: Bits,
    outer: Bits,
    gain: Bits,
    mean_square: MeanSquare,
    eps: tuple[float, float],
    array_sum: float,
) -> tuple[Bits, int]:
    """Codes and scale bits of one vector, all operands as bit patterns; by `GoldenModel`."""
    n, fmt = len(x), numerics.vector
    # In float64, against the image's rule: float32 does not hold the largest numbers.
    quantise = Instruction(op=Op.QUANTISE, n=n, immediate=1.0 / n, mean_square=mean_square)
    end = Instruction(op=Op.END)
    image = Image(
        config=ModelConfig(
            vocab_size=1, hidden_size=n, num_hidden_layers=1, intermediate_size=n
        ),
        tokenizer_json=None,
        matrices=(),
        pairs=np.stack([fmt.from_bits(outer), fmt.from_bits(gain)], 1),
        embedding=fmt.from_bits(x)[None],  # type: ignore[arg-type]
        gates=np.zeros((1, n), np.float32),
        program=(
            Instruction(op=Op.SCALARS, constants=eps[0], immediate=eps[1]),
            Instruction(op=Op.EMBED, n=n),
            quantise, end, end,
        ),
    )  # fmt: skip
    seen: dict[str, Any] = {}
    golden = GoldenModel(image, numerics, trace=lambda _, unit, values: seen.update({unit: values}))
    golden._array_stat = array_sum
    golden.feed(0)
    return seen["codes"].astype(np.int64), int(fmt.to_bits(seen["scale"])[0])


def kernel(fmt: Format, which: Kernel, y: Bits, a: Bits, h: Bits, c: Bits) -> Bits:
    """Bits that a kernel makes of rows y, operands a, old states h and gates c."""
    r = fmt.round
    row, operand, old, gate = (fmt.from_bits(v) for v in (y, a, h, c))
    if which is Kernel.SILU:
        o = r(row * sigmoid(fmt, row))
    elif which is Kernel.ADD:
        o = r(operand + row)
    elif which is Kernel.GLU:
        o = r(row * r(operand * sigmoid(fmt, operand)))
    elif which is Kernel.MLGRU:
        u = r(gate * sigmoid(fmt, -row))
        o = r(r(r(1.0 - u) * old) + r(u * operand))
    else:
        o = row
    return fmt.to_bits(o).astype(np.int64)


def scaled(fmt: Format, rows: Bits, scale: int, factor: int) -> Bits:
    """Bits of rows times (scale * factor), both given as bits."""
    s = fmt.round(fmt.from_bits(scale) * fmt.from_bits(factor))
    return fmt.to_bits(fmt.round(rows.astype(np.float64)) * s).astype(np.int64)


def row_statistic(fmt: Format, rows: Bits, scale: int, factor: int, shift: int) -> int:
    """Bits of the sum of squares of scaled rows, from accumulators without their low bits."""
    s = fmt.round(fmt.from_bits(scale) * fmt.from_bits(factor))
    leading = rows >> shift
    total = fmt.round(float((leading * leading).sum()) * 4.0**shift)
    return int(fmt.to_bits(total * fmt.round(s * s))[0])
