"""Golden model: the chip's arithmetic, bit for bit, in NumPy.

Every value outside the ternary array is a `Format` number; `Arithmetic` and the kernels' meanings
round where the chip does. One token at a time (scalars are Python floats) or a batch of independent
rows (scalars are columns): the same code. RTL equals it on every bit.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.numerics import noise, rotary
from setun.firmware.numerics.arithmetic import Arithmetic, Codes
from setun.firmware.numerics.attention import Attention, Heads
from setun.firmware.numerics.formats import Values
from setun.firmware.numerics.options import Numerics
from setun.firmware.program import machine
from setun.firmware.program.isa import Instruction, Table
from setun.firmware.program.kernels import Operands, Port
from setun.firmware.program.machine import Step
from setun.sim.weights import weights_of

Trace = Callable[[str, str, NDArray[np.floating[Any]]], None]  # (tensor, unit, values)

FIRST_ROOM = 64  # positions of a cache, which grows


def full(positions: int, tokens: int) -> SetunError:
    """That a conversation has no room for so many tokens."""
    rule = f"holds {positions} tokens, as many as there are positions"
    return SetunError("context", rule, tokens, "begin anew, or give fewer")


class GoldenModel(machine.Visitor):
    """A model on the chip, in one or `batch` independent copies.

    Parameters
    ----------
    image
        The compiled model.
    numerics
        Arithmetic of the chip.
    batch
        Rows computed side by side; None for one token stream.
    trace
        Called with every vector that a unit produces: tensor name, unit, values.
    positions
        Tokens that a conversation may have; 0 for as many as the model says.

    Members
    -------
    state
        The recurrent state [.., elements]; `image.memory.state` says what lies where.
    position
        Tokens fed since `reset`.
    """

    def __init__(
        self,
        image: Image,
        numerics: Numerics | None = None,
        batch: int | None = None,
        trace: Trace | None = None,
        positions: int = 0,
    ) -> None:
        self.image = image
        self.numerics = numerics or Numerics()
        self.arithmetic = Arithmetic(self.numerics)
        self.attention = Attention(self.numerics)
        self.trace = trace
        self.positions = positions or image.memory.positions
        f = self.numerics.vector
        self._weights = weights_of(image)
        self._scales = [
            None if scales is None else f.round(scales)
            for scales in (matrix.row_scales() for matrix in image.matrices)
        ]
        self._outer, self._gain = f.round(image.tables[Table.CONSTANTS].T)
        self._embedding = image.tables[Table.EMBEDDING]
        self._turns = image.tables.get(Table.ROPE, np.zeros(0)).astype(np.int64)
        self._gates = f.round(image.tables.get(Table.GATES, np.zeros(0)))
        program = tuple(i.adapted(self.numerics).rounded(f) for i in image.program)
        body, head = machine.body_and_head(replace(image, program=program))
        self._body, self._head = machine.bound(self, body), machine.bound(self, head)
        rows = () if batch is None else (batch,)
        self._vector = {0: np.zeros((*rows, 1))}  # by first element
        self.state = np.zeros((*rows, image.memory.state_elements))
        self.reset()

    def reset(self) -> None:
        """Forget everything: zero recurrent state, an empty cache."""
        self.state[:] = 0.0
        self.position = 0
        self._cached: dict[int, Heads] = {}  # [.., room, heads, d] by first element
        self._noise = noise.first_state(self.numerics.state_seed)
        self._of_rows: Any = 0.0

    @property
    def full(self) -> bool:
        """Whether no position is left for another token."""
        return 0 < self.positions == self.position

    def feed(self, token: int | NDArray[np.integer[Any]]) -> None:
        """Run the body of the program for one token (or one per row of the batch).

        Raises
        ------
        SetunError
            The cache is full.
        """
        if self.full:
            raise full(self.position, self.position + 1)
        self._noise = noise.next_state(self._noise)
        self._token = token
        self._slots: deque[tuple[Codes, Any]] = deque()
        for visit, step in self._body:
            visit(step)
        self.position += 1

    def logits(self) -> Values:
        """Logits [.., vocabulary] of what has been fed: the head up to the sampler."""
        for visit, step in self._head:
            visit(step)
        return self._logits

    model = end = machine.nothing

    def scalars(self, step: Step) -> None:
        self._eps = float(step.do.constants), float(step.do.immediate)

    def embed(self, step: Step) -> None:
        self._vector[step.do.dst] = self.numerics.vector.round(self._embedding[self._token])

    def quantise(self, step: Step) -> None:
        do = step.do
        pairs = slice(int(do.constants), int(do.constants) + do.n)
        codes, scale = self.arithmetic.quantise(
            self._vector[do.src],
            self._outer[pairs],
            self._gain[pairs],
            float(do.immediate),
            self._eps,
            do.mean_square,
            self._of_rows,
        )
        self._slots.append((codes, scale))
        if self.trace:
            self.trace(do.note, "codes", codes.astype(np.float64))
            self.trace(do.note, "scale", np.asarray(scale))

    def norm(self, step: Step) -> None:
        do = step.do
        first = int(do.immediate)
        gains = self._gain[first : first + do.block]
        self._put(do, self.arithmetic.head_norm(self._heads(do), gains, self._eps[0]))

    def rotate(self, step: Step) -> None:
        do = step.do
        turns = self._turns[int(do.immediate) :][: do.block // 2]
        phase = rotary.phases(turns, self.position)
        self._put(do, rotary.rotated(self.arithmetic, self._heads(do), phase))

    def cache(self, step: Step) -> None:
        do, at = step.do, self.position
        coded = self.attention.coded(self._heads(do))
        start = int(do.immediate)
        held = self._cached.get(start)
        if held is None or at == held.exponent.shape[-2]:
            held = self._cached[start] = self._doubled(held, coded)
        held.codes[..., at, :, :], held.exponent[..., at, :] = coded
        if self.trace:
            self.trace(do.note, "cache codes", coded.codes)
            self.trace(do.note, "cache exponent", coded.exponent.astype(np.float64))

    def attend(self, step: Step) -> None:
        do = step.do
        own = self.position + 1
        first = int(do.immediate)
        keys, values = self.cached(first, own), self.cached(first + do.apart, own)
        self._put(do, self.attention(self._heads(do), keys, values))

    def cached(self, start: int, count: int) -> Heads:
        """`count` positions of the cache's region at element `start`: [.., count, heads, d]."""
        held = self._cached[start]
        return Heads(held.codes[..., :count, :, :], held.exponent[..., :count, :])

    def _doubled(self, held: Heads | None, coded: Heads) -> Heads:
        """Room for twice as many positions."""
        if held is None:
            *rows, heads, width = coded.codes.shape
            empty = np.zeros((*rows, FIRST_ROOM, heads, width), np.float32)
            return Heads(empty, np.zeros(empty.shape[:-1], np.int64))
        return Heads(
            np.concatenate([held.codes, np.zeros_like(held.codes)], -3),
            np.concatenate([held.exponent, np.zeros_like(held.exponent)], -2),
        )

    def _heads(self, do: Instruction) -> Values:
        vector = self._vector[do.src]
        return vector.reshape(*vector.shape[:-1], -1, do.block)

    def _put(self, do: Instruction, heads: Values) -> None:
        self._vector[do.src] = heads.reshape(*heads.shape[:-2], do.n)
        if self.trace:
            self.trace(do.note, do.op.name.lower(), self._vector[do.src])

    def matvec(self, step: Step) -> None:
        do, kernel, compute, v = step.do, step.do.kernel, self.arithmetic, self._vector
        codes, scale = self._slots[0] if do.keep else self._slots.popleft()
        sums = self._weights[step.number].sums(codes, compute)
        y, s = compute.rows(sums, scale, do.immediate, self._scales[step.number])
        given = Operands(y, v.get(do.src, y))
        place = slice(do.dst, do.dst + do.n)
        if kernel.gated:
            before, random = self.state[..., place], self._random(do)
            given = given._replace(gates=self._gates[place], state=before, noise=random)
        made: Values = kernel.meaning(compute, given)
        if kernel.gated:
            self.state[..., place] = made
        if kernel.stores:
            vector = compute.r(made) if kernel.gated else made
            v[do.src if kernel.stores is Port.SOURCE else do.dst] = vector
        if kernel.samples:
            self._logits = made
        # Let go once the next are there: the allocator would return their memory, to ask for it.
        self._held = sums, y, made
        if kernel.summed:
            self._of_rows = compute.row_statistic(sums, do.stat_shift, compute.mul(s, s))
        if self.trace:
            self.trace(do.note, "array", sums)
            self.trace(do.note, kernel.name, made)

    def _random(self, do: Instruction) -> NDArray[np.int64] | None:
        """Noise of the elements that a kernel keeps, if states are rounded at random."""
        if not self.numerics.stochastic:
            return None
        return noise.state_noise(self._noise, do.dst, do.n)
