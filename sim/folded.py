"""An image in floating point: what its program means before the chip's number format.

The float twin of `golden`, and the check of the compiler's algebra: it equals the float
reference of the checkpoint to float32 rounding, from nothing but the image.
"""

import math
from collections import deque
from typing import Any

import numpy as np

from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.numerics.matmul import product
from setun.firmware.numerics.rotary import PHASE_BITS
from setun.firmware.program import machine
from setun.firmware.program.isa import Table
from setun.firmware.program.kernels import Operands, Port
from setun.firmware.program.machine import Step
from setun.sim.reference.layers import (
    ABSMAX_FLOOR,
    ROWS_AT_ONCE,
    Array,
    Ids,
    attend,
    round_half_away,
    scan,
    sigmoid,
)
from setun.sim.weights import weights_of


class Reals:
    """Float32 in place of the chip's `Arithmetic`: vectors are [B, T, n], of whole sequences."""

    def r(self, x: Array) -> Array:
        """`x` as it is."""
        return x

    def mul(self, a: Array, b: Array) -> Array:
        """Product."""
        return a * b

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + e^-x)."""
        return sigmoid(x)

    def remember(self, u: Array, h: Array, a: Array, noise: Any) -> Array:
        """States (1-u)*h + u*a after each token, from the states [B, n] before the first."""
        return scan(u * a, 1 - u, h)


class FoldedModel:
    """A model from its image, in float32, every sequence from a zero state.

    Parameters
    ----------
    image
        A verified image.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.weights = weights_of(image)
        self.gates = image.tables.get(Table.GATES, np.zeros(0, np.float32))
        self._steps = machine.steps(image)

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
        run = _Run(self, ids)
        machine.walk(run, self._steps)
        return run.rows


class _Run(machine.Visitor):
    """One pass over a batch of sequences `ids` [B, T]."""

    def __init__(self, model: FoldedModel, ids: Ids) -> None:
        self.folded, self.ids = model, ids
        self.reals = Reals()
        self.vector: dict[int, Array] = {}  # [B, T, n] by first element
        self.slots: deque[tuple[Array, Array]] = deque()  # codes, and the real value of one
        self.cached: dict[int, Array] = {}  # [B, T, heads, d] by first element

    model = end = machine.nothing

    def norm(self, step: Step) -> None:
        do = step.do
        x, first = self._heads(step), int(do.immediate)
        _, gains = self.folded.image.tables[Table.CONSTANTS][first : first + do.block].T
        total = np.sum(x * x, axis=-1, keepdims=True, dtype=np.float32)
        self._put(step, x / np.sqrt(total + self.eps_outer) * gains)

    def rotate(self, step: Step) -> None:
        half = step.do.block // 2
        turns = self.folded.image.tables[Table.ROPE][int(step.do.immediate) :][:half]
        phase = np.arange(self.ids.shape[1])[:, None] * turns.astype(np.float64) % (1 << PHASE_BITS)
        angle = (phase * (math.tau / (1 << PHASE_BITS)))[:, None]
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        a, b = np.split(self._heads(step), 2, axis=-1)
        self._put(step, np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1))

    def cache(self, step: Step) -> None:
        self.cached[int(step.do.immediate)] = self._heads(step)

    def attend(self, step: Step) -> None:
        do = step.do
        first = int(do.immediate)
        keys, values = self.cached[first], self.cached[first + do.apart]
        # The queries are those of powers of two.
        query = self._heads(step) * np.float32(math.log(2) * do.block**0.5)
        self._put(step, attend(query, keys, values)[0])

    def _heads(self, step: Step) -> Array:
        vector = self.vector[step.do.src]
        return vector.reshape(*vector.shape[:2], -1, step.do.block)

    def _put(self, step: Step, heads: Array) -> None:
        self.vector[step.do.src] = heads.reshape(*heads.shape[:2], step.do.n)

    def scalars(self, step: Step) -> None:
        self.eps_outer = np.float32(step.do.constants)
        self.eps_inner = np.float32(step.do.immediate)

    def embed(self, step: Step) -> None:
        self.vector[step.do.dst] = self.folded.image.tables[Table.EMBEDDING][self.ids]

    def quantise(self, step: Step) -> None:
        do = step.do
        x, start = self.vector[do.src], int(do.constants)
        outer, gain = self.folded.image.tables[Table.CONSTANTS][start : start + do.n].T
        normed = do.mean_square is not MeanSquare.UNIT
        if do.mean_square is MeanSquare.NONE or not normed:
            eps: Any = self.eps_inner
        else:
            own = do.mean_square is MeanSquare.OWN
            eps = self.eps_inner * ((_mean_square(x) if own else self.of_rows) + self.eps_outer)
        rms = np.sqrt(_mean_square(x * outer) + eps) if normed else np.float32(1)
        folded = x * gain
        top = np.maximum(np.abs(folded).max(-1, keepdims=True), ABSMAX_FLOOR * rms)
        codes = round_half_away(folded * (np.float32(127) / top))
        self.slots.append((codes, top / (np.float32(127) * rms)))

    def matvec(self, step: Step) -> None:
        do, kernel, matrix = step.do, step.do.kernel, step.matrix
        assert matrix is not None
        codes, scale = self.slots[0] if do.keep else self.slots.popleft()
        y = self.folded.weights[step.number].products(codes, product)
        y *= np.float32(matrix.scale) * scale
        if (scales := matrix.row_scales()) is not None:
            y *= scales
        gates = self.folded.gates[do.dst : do.dst + do.n]
        zero = np.zeros((y.shape[0], do.n), np.float32)
        self.rows = kernel.meaning(self.reals, Operands(y, self.vector.get(do.src, y), gates, zero))
        if kernel.stores:
            self.vector[do.src if kernel.stores is Port.SOURCE else do.dst] = self.rows
        if kernel.summed:
            self.of_rows = _mean_square(y)


def _mean_square(x: Array) -> Array:
    return np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
