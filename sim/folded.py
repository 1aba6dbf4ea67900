"""An image in floating point: what its program means before the chip's number format.

The float twin of `golden`, and the check of the compiler's algebra: it equals the float
reference of the checkpoint to float32 rounding, from nothing but the image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.numerics.matmul import product
from setun.firmware.program.isa import Instruction, Kernel, MeanSquare, Op, Table
from setun.sim.reference.layers import (
    ABSMAX_FLOOR,
    ROWS_AT_ONCE,
    Array,
    Ids,
    round_half_away,
    scan,
    sigmoid,
)


@dataclass
class _Run:
    """What one pass over a batch of sequences keeps."""

    vector: dict[int, Array]  # [B, T, n] by start element
    codes: Array
    scale: Array  # [B, T, 1], real value of a code
    eps_outer: np.float32
    eps_inner: np.float32
    row_mean_square: Array
    state: dict[int, Array]  # [B, T, width] by start element


class FoldedModel:
    """A model from its image, in float32, every sequence from a zero state.

    Parameters
    ----------
    image
        A verified image.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self._weights = [np.ascontiguousarray(m.codes().T, np.float32) for m in image.matrices]

    def forward_batch(self, ids: Ids) -> Array:
        """Logits [B, T, V] after each token of `ids` [B, T].

        Raises
        ------
        SetunError
            A token is outside the vocabulary.
        """
        ids, vocabulary = np.asarray(ids), self.image.vocab_size
        if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary:
            wrong = ids[(ids < 0) | (ids >= vocabulary)][0]
            raise SetunError("token id", f"must be 0 to {vocabulary - 1}", wrong)
        step = max(1, ROWS_AT_ONCE // max(1, ids.shape[1]))
        return np.concatenate(
            [self._forward(ids[k : k + step]) for k in range(0, max(1, len(ids)), step)]
        )

    def _forward(self, ids: Ids) -> Array:
        image, none = self.image, np.zeros(0, np.float32)
        run = _Run({}, none, none, np.float32(0), np.float32(0), none, {})
        y, matrix = none, 0
        for op in image.program:
            if op.op is Op.SCALARS:
                run.eps_outer, run.eps_inner = np.float32(op.constants), np.float32(op.immediate)
            elif op.op is Op.EMBED:
                run.vector[op.dst] = image.tables[Table.EMBEDDING][ids]
            elif op.op is Op.QUANTISE:
                self._quantise(op, run)
            elif op.op is Op.MATVEC:
                y = product(run.codes, self._weights[matrix])
                y *= np.float32(image.matrices[matrix].scale) * run.scale
                matrix += 1
                self._store(op, y, run)
        return y

    def _quantise(self, op: Instruction, run: _Run) -> None:
        x, start = run.vector[op.src], int(op.constants)
        outer, gain = self.image.tables[Table.CONSTANTS][start : start + op.n].T
        if op.mean_square is MeanSquare.NONE:
            eps: Any = run.eps_inner
        else:
            own = op.mean_square is MeanSquare.OWN
            eps = run.eps_inner * (
                (_mean_square(x) if own else run.row_mean_square) + run.eps_outer
            )
        rms = np.sqrt(_mean_square(x * outer) + eps)
        folded = x * gain
        top = np.maximum(np.abs(folded).max(-1, keepdims=True), ABSMAX_FLOOR * rms)
        run.codes = round_half_away(folded * (np.float32(127) / top))
        run.scale = top / (np.float32(127) * rms)

    def _store(self, op: Instruction, y: Array, run: _Run) -> None:
        v = run.vector
        if op.kernel is Kernel.COPY:
            v[op.dst] = y
        elif op.kernel is Kernel.SILU:
            v[op.dst] = y * sigmoid(y)
        elif op.kernel is Kernel.MLGRU:
            gates = self.image.tables[Table.GATES][op.dst : op.dst + op.n]
            u = gates * sigmoid(-y)
            start = np.zeros((y.shape[0], y.shape[2]), np.float32)
            run.state[op.dst] = v[op.src] = scan(u * v[op.src], 1 - u, start)
        elif op.kernel is Kernel.GLU:
            a = v[op.src]
            v[op.dst] = y * (a * sigmoid(a))
            run.row_mean_square = _mean_square(y)
        elif op.kernel is Kernel.ADD:
            v[op.dst] = v[op.src] + y


def _mean_square(x: Array) -> Array:
    return np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
