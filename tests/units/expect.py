"""What the golden model says of single vectors."""

import numpy as np
from numpy.typing import NDArray

from setun.firmware.checkpoint import ModelConfig
from setun.firmware.compiler import Image
from setun.firmware.formats import Format
from setun.firmware.isa import Instruction, MeanSquare, Op
from setun.sim.golden import GoldenModel

Bits = NDArray[np.int64]


def quantised(
    fmt: Format,
    x: Bits,
    outer: Bits,
    gain: Bits,
    mean_square: MeanSquare,
    eps: tuple[float, float],
    array_sum: float,
) -> tuple[Bits, int]:
    """Codes and scale bits of one vector, all operands as bit patterns; by `GoldenModel`."""
    n = len(x)
    quantise = Instruction(op=Op.QUANTISE, n=n, immediate=1.0 / n, mean_square=mean_square)
    end = Instruction(op=Op.END)
    image = Image(
        config=ModelConfig(
            vocab_size=1, hidden_size=n, num_hidden_layers=1, intermediate_size=n
        ),
        tokenizer_json=None,
        matrices=(),
        pairs=np.stack([fmt.from_bits(outer), fmt.from_bits(gain)], 1),
        embedding=fmt.from_bits(x)[None],  # float64: the largest numbers exceed float32
        gates=np.zeros((1, n), np.float32),
        program=(
            Instruction(op=Op.SCALARS, constants=eps[0], immediate=eps[1]),
            Instruction(op=Op.EMBED, n=n),
            quantise, end, end,
        ),
    )  # fmt: skip
    seen: dict[str, NDArray[np.float64]] = {}
    golden = GoldenModel(image, fmt, trace=lambda _, unit, values: seen.update({unit: values}))
    golden._array_stat = array_sum
    golden.feed(0)
    return seen["codes"].astype(np.int64), int(fmt.to_bits(seen["scale"])[0])
