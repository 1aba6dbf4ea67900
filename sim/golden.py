"""Golden model: the chip's arithmetic, bit for bit, in NumPy.

Every value outside the ternary array is a `Format` number; `r(...)` and `mul(...)` mark each place
where the chip rounds; `arithmetic` has what the numerics choose. One token at a time (scalars are
Python floats) or a batch of independent rows (scalars are columns): the same code. RTL equals it on
every bit.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.image.image import Image
from setun.firmware.numerics import functions, noise
from setun.firmware.numerics.arithmetic import Arithmetic, Codes
from setun.firmware.numerics.formats import Values
from setun.firmware.numerics.options import Numerics
from setun.firmware.program.isa import Instruction, Kernel, MeanSquare, Op, Table

SQUARE_BITS = 16  # magnitude bits of block squares (hw.arith.square)
Program = list[tuple[Instruction, float]]  # with the immediate in the vector format
Trace = Callable[[str, str, NDArray[np.floating[Any]]], None]  # (tensor, unit, values)


class GoldenModel:
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

    Members
    -------
    state
        The recurrent state [.., elements]; `image.memory.state` says what lies where.
    """

    def __init__(
        self,
        image: Image,
        numerics: Numerics | None = None,
        batch: int | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.image = image
        self.numerics = numerics or Numerics()
        self.arithmetic = Arithmetic(self.numerics)
        self.batch = batch
        self.trace = trace
        f = self.numerics.vector
        self._weights = [np.ascontiguousarray(m.codes().T, np.float32) for m in image.matrices]
        self._outer, self._gain = f.round(image.tables[Table.CONSTANTS].T)
        self._embedding = f.round(image.tables[Table.EMBEDDING])
        self._gates = f.round(image.tables.get(Table.GATES, np.zeros(0)))
        ends = [k for k, i in enumerate(image.program) if i.op is Op.END]
        adapted = [i.adapted(self.numerics) for i in image.program]
        program = [(i, f.round1(float(i.immediate))) for i in adapted]
        self._body, self._head = program[: ends[0]], program[ends[0] + 1 : ends[1]]
        rows = () if batch is None else (batch,)
        self._vector = {0: np.zeros((*rows, 1))}  # by start element
        self.state = np.zeros((*rows, image.memory.state_elements))
        self.reset()

    def reset(self) -> None:
        """Forget everything: zero recurrent state."""
        self.state[:] = 0.0
        self._noise = noise.first_state(self.numerics.state_seed)

    def feed(self, token: int | NDArray[np.integer[Any]]) -> None:
        """Run the body of the program for one token (or one per row of the batch)."""
        self._noise = noise.next_state(self._noise)
        self._run(self._body, self._embedding[token])

    def logits(self) -> Values:
        """Logits [.., vocabulary] of what has been fed: the head up to the sampler."""
        return self._run(self._head, None)

    def _run(self, program: Program, embedded: Values | None) -> Values:
        v = self._vector
        matrix = 0 if embedded is not None else len(self._weights) - 1
        compute = self.arithmetic
        r, mul = compute.r, compute.mul
        sigmoid = functools.partial(functions.sigmoid, self.numerics.vector)
        y = np.zeros(0)
        for op, immediate in program:
            if op.op is Op.SCALARS:
                self._eps = r(float(op.constants)), immediate
            elif op.op is Op.EMBED:
                assert embedded is not None
                v[op.dst] = embedded
            elif op.op is Op.QUANTISE:
                codes, scale = self._quantise(op, immediate, v[op.src])
            elif op.op is Op.MATVEC:
                rows = compute.sums(codes, self._weights[matrix])
                matrix += 1
                s = mul(scale, immediate)
                y = mul(compute.floats(rows), s)
                target = slice(op.dst, op.dst + op.n)
                if op.kernel is Kernel.COPY:
                    v[op.dst] = y
                elif op.kernel is Kernel.SILU:
                    v[op.dst] = mul(y, sigmoid(y))
                elif op.kernel is Kernel.MLGRU:
                    u = mul(self._gates[target], sigmoid(-y))
                    before, random = self.state[..., target], self._random(op.dst, y)
                    h = compute.remember(u, before, v[op.src], random)
                    self.state[..., target], v[op.src] = h, r(h)
                elif op.kernel is Kernel.GLU:
                    a = v[op.src]
                    v[op.dst] = mul(y, mul(a, sigmoid(a)))
                    self._array_stat = self._squares_of_rows(op, rows, s)
                elif op.kernel is Kernel.ADD:
                    v[op.dst] = r(v[op.src] + y)
                if self.trace:
                    self.trace(op.note, "array", rows)
                    kept = op.kernel is Kernel.MLGRU
                    self.trace(
                        op.note,
                        op.kernel.name,
                        self.state[..., target]
                        if kept
                        else y
                        if op.kernel is Kernel.SAMPLE
                        else v[op.dst],
                    )
        return y

    def _random(self, first: int, like: Values) -> NDArray[np.int64] | None:
        """Noise of the state's elements from `first` on, if it is rounded at random."""
        if not self.numerics.stochastic:
            return None
        return noise.state_noise(self._noise, first, like.shape[-1])

    def _quantise(self, op: Instruction, inv_n: float, x: Values) -> tuple[Codes, Any]:
        """Codes (as whole numbers) and scale = max|x*gain| / rms of one BitLinear input."""
        compute = self.arithmetic
        r, mul = compute.r, compute.mul
        pairs = slice(int(op.constants), int(op.constants) + op.n)
        t = mul(x, self._gain[pairs])
        v = mul(x, self._outer[pairs])
        codes, top = compute.codes(t, self._max(np.abs(t)))

        eps_outer, eps_inner = self._eps
        m2 = mul(self._sum_of_squares(v), inv_n)
        if op.mean_square is MeanSquare.NONE:
            eps = eps_inner
        else:
            own = op.mean_square is MeanSquare.OWN
            total = self._sum_of_squares(x) if own else self._array_stat
            eps = mul(eps_inner, r(mul(total, inv_n) + eps_outer))
        scale = compute.scale(compute.rsqrt(r(m2 + eps)), top)
        if self.trace:
            self.trace(op.note, "codes", codes.astype(np.float64))
            self.trace(op.note, "scale", np.asarray(scale))
        return codes, scale

    def _sum_of_squares(self, x: Values) -> Any:
        """Sum of squares of magnitudes cut to 16 bits below the largest one's exponent."""
        a = np.abs(x)
        top = self._max(a)
        _, e = math.frexp(top) if self.batch is None else np.frexp(top)
        shift = SQUARE_BITS - e
        a *= np.ldexp(1.0, shift) if self.batch is not None else math.ldexp(1.0, shift)
        total = self._sum_squares(np.floor(a, out=a))
        return self.arithmetic.r(total * np.ldexp(1.0, -2 * shift))

    def _squares_of_rows(self, op: Instruction, rows: NDArray[np.floating[Any]], s: Any) -> Any:
        """Sum of squares of y = acc*s, from the leading bits of the accumulators."""
        compute = self.arithmetic
        a = np.floor(rows * 2.0**-op.stat_shift)
        total = self._sum_squares(a.astype(np.float64)) * (2.0**op.stat_shift * compute.unit) ** 2
        return compute.mul(compute.r(total), compute.mul(s, s))

    def _sum_squares(self, a: Values) -> Any:
        """Exact sums of squares of whole numbers: their sum is below 2**53."""
        if not self.numerics.lmul and self.batch is None:
            return float(a @ a)
        total = self.arithmetic.squares(a).sum(-1, keepdims=self.batch is not None)
        return float(total) if self.batch is None else total

    def _max(self, size: Values) -> Any:
        return float(size.max()) if self.batch is None else size.max(-1, keepdims=True)
