"""What the golden model's arithmetic makes of single vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.image.image import Image, MemoryMap, Region
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.functions import sigmoid
from setun.firmware.numerics.options import CODE, Numerics
from setun.firmware.program.isa import Instruction, Kernel, MeanSquare, Op, Table
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
    """Codes and scale bits of one vector, all operands as bit patterns; by `GoldenModel`.

    Codes are the 8 bits that slots hold, as signed numbers.
    """
    fmt, n = numerics.vector, len(x)
    # In float64, against the image's rule: float32 does not hold the largest numbers.
    quantise = Instruction(op=Op.QUANTISE, n=n, immediate=1.0 / n, mean_square=mean_square)
    end = Instruction(op=Op.END)
    image = Image(
        name="",
        vocab_size=1,
        layers=(),
        matrices=(),
        tables={
            Table.CONSTANTS: np.stack([fmt.from_bits(outer), fmt.from_bits(gain)], 1),
            Table.EMBEDDING: fmt.from_bits(x)[None],
        },
        memory=MemoryMap((Region("x", 0, n),)),
        program=(
            Instruction(op=Op.SCALARS, constants=eps[0], immediate=eps[1]),
            Instruction(op=Op.EMBED, n=n),
            quantise,
            end,
            end,
        ),
    )
    seen: dict[str, Any] = {}
    golden = GoldenModel(image, numerics, trace=lambda _, unit, values: seen.update({unit: values}))
    golden._array_stat = array_sum
    golden.feed(0)
    codes = seen["codes"]
    if numerics.fp8:
        codes = CODE.to_bits(codes * 2.0**-numerics.fraction).astype(np.int8)
    return codes.astype(np.int64), int(fmt.to_bits(seen["scale"])[0])


def kernel(
    numerics: Numerics, which: Kernel, y: Bits, a: Bits, c: Bits, h: Bits, noise: Bits | None
) -> tuple[Bits, Bits]:
    """Bits that a kernel makes of rows y, operands a, gates c and old states h, for vectors and
    for the state (zeros unless it is MLGRU's)."""
    compute, fmt, state = Arithmetic(numerics), numerics.vector, numerics.state
    mul = compute.mul
    row, operand, gate, old = (
        fmt.from_bits(y),
        fmt.from_bits(a),
        fmt.from_bits(c),
        state.from_bits(h),
    )
    kept = np.zeros(len(row))
    if which is Kernel.SILU:
        o = mul(row, sigmoid(fmt, row))
    elif which is Kernel.ADD:
        o = compute.r(operand + row)
    elif which is Kernel.GLU:
        o = mul(row, mul(operand, sigmoid(fmt, operand)))
    elif which is Kernel.MLGRU:
        u = mul(gate, sigmoid(fmt, -row))
        kept = compute.remember(u, old, operand, noise if numerics.stochastic else None)
        o = compute.r(kept)
    else:
        o = row
    return fmt.to_bits(o).astype(np.int64), state.to_bits(kept).astype(np.int64)


def scaled(numerics: Numerics, rows: Bits, scale: int, factor: int) -> Bits:
    """Bits of rows times (scale * factor), both given as bits."""
    compute, fmt = Arithmetic(numerics), numerics.vector
    s = compute.mul(fmt.from_bits(scale), fmt.from_bits(factor))
    return fmt.to_bits(compute.mul(compute.floats(rows.astype(np.float64)), s)).astype(np.int64)


def row_statistic(numerics: Numerics, rows: Bits, scale: int, factor: int, shift: int) -> int:
    """Bits of the sum of squares of scaled rows, from accumulators without their low bits."""
    compute, fmt = Arithmetic(numerics), numerics.vector
    s = compute.mul(fmt.from_bits(scale), fmt.from_bits(factor))
    leading = (rows >> shift).astype(np.float64)
    total = compute.squares(leading).sum() * (2.0**shift * compute.unit) ** 2
    return int(fmt.to_bits(compute.mul(compute.r(total), compute.mul(s, s)))[0])
