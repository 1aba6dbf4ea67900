"""Golden model: the chip's arithmetic, bit for bit, in NumPy.

Every value outside the ternary array is a `Format` number; `r(...)` marks each place where the
chip rounds. One token at a time (scalars are Python floats) or a batch of independent rows
(scalars are columns): the same code. RTL equals it on every bit.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from setun.firmware import functions
from setun.firmware.compiler import Image, aligned
from setun.firmware.formats import Format, Values
from setun.firmware.isa import Instruction, Kernel, MeanSquare, Op
from setun.sim.products import product

SQUARE_BITS = 16  # magnitude bits of block squares (hw.arith.square)
Codes = NDArray[np.float32]  # whole numbers
Program = list[tuple[Instruction, float]]  # with the immediate in the vector format
Trace = Callable[[str, str, NDArray[np.floating[Any]]], None]  # (tensor, unit, values)


class GoldenModel:
    """A model on the chip, in one or `batch` independent copies.

    Parameters
    ----------
    image
        The compiled model.
    fmt
        Vector format.
    batch
        Rows computed side by side; None for one token stream.
    trace
        Called with every vector that a unit produces: tensor name, unit, values.
    """

    def __init__(
        self,
        image: Image,
        fmt: Format | None = None,
        batch: int | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.image = image
        self.fmt = fmt or Format()
        self.batch = batch
        self.trace = trace
        f = self.fmt
        # float32 holds every exact sum: 127*n < 2**24 up to 132,104 columns.
        self._weights = [np.ascontiguousarray(m.codes.T, np.float32) for m in image.matrices]
        self._outer, self._gain = f.round(image.pairs[:, 0]), f.round(image.pairs[:, 1])
        self._embedding = f.round(image.embedding)
        self._gates = f.round(image.gates)
        ends = [k for k, i in enumerate(image.program) if i.op is Op.END]
        program = [(i, f.round1(float(i.immediate))) for i in image.program]
        self._body, self._head = program[: ends[0]], program[ends[0] + 1 : ends[1]]
        rows = () if batch is None else (batch,)
        self._vector = {0: np.zeros((*rows, 1))}  # by start element
        self.state = np.zeros((image.config.num_hidden_layers, *rows, image.config.inner_size))
        self.reset()

    def reset(self) -> None:
        """Forget everything: zero recurrent state."""
        self.state[:] = 0.0

    def feed(self, token: int | NDArray[np.integer[Any]]) -> None:
        """Run the body of the program for one token (or one per row of the batch)."""
        self._run(self._body, self._embedding[token])

    def logits(self) -> Values:
        """Logits [.., vocabulary] of what has been fed: the head up to the sampler."""
        return self._run(self._head, None)

    def _run(self, program: Program, embedded: Values | None) -> Values:
        v, layer_width = self._vector, aligned(self.image.config.inner_size)
        r, matrix = self.fmt.round, (0 if embedded is not None else len(self._weights) - 1)
        sigmoid = functools.partial(functions.sigmoid, self.fmt)
        y = np.zeros(0)
        for op, immediate in program:
            if op.op is Op.SCALARS:
                self._eps = self.fmt.round1(float(op.constants)), immediate
            elif op.op is Op.EMBED:
                assert embedded is not None
                v[op.dst] = embedded
            elif op.op is Op.QUANTISE:
                codes, scale = self._quantise(op, immediate, v[op.src])
            elif op.op is Op.MATVEC:
                rows = product(codes, self._weights[matrix])
                matrix += 1
                s = self._r(scale * immediate)
                y = r(r(rows) * s)
                layer = op.dst // layer_width
                if op.kernel is Kernel.COPY:
                    v[op.dst] = y
                elif op.kernel is Kernel.SILU:
                    v[op.dst] = r(y * sigmoid(y))
                elif op.kernel is Kernel.MLGRU:
                    u = r(self._gates[layer] * sigmoid(-y))
                    forgotten = r(r(1.0 - u) * self.state[layer])
                    self.state[layer] = v[op.src] = r(forgotten + r(u * v[op.src]))
                elif op.kernel is Kernel.GLU:
                    a = v[op.src]
                    v[op.dst] = r(y * r(a * sigmoid(a)))
                    self._array_stat = self._mean_square_of_rows(op, rows, s)
                elif op.kernel is Kernel.ADD:
                    v[op.dst] = r(v[op.src] + y)
                if self.trace:
                    self.trace(op.note, "array", rows)
                    kept = op.kernel is Kernel.MLGRU
                    self.trace(op.note, op.kernel.name, self.state[layer] if kept else
                               y if op.kernel is Kernel.SAMPLE else v[op.dst])  # fmt: skip
        return y

    def _quantise(self, op: Instruction, inv_n: float, x: Values) -> tuple[Codes, Any]:
        """Codes (as float32 integers) and scale = max|x*gain| / rms of one BitLinear input."""
        pairs = slice(int(op.constants), int(op.constants) + op.n)
        t = self.fmt.round(x * self._gain[pairs])
        v = self.fmt.round(x * self._outer[pairs])
        size = np.abs(t)
        top = self._max(size)
        size *= 127.0
        size /= top + (top == 0.0)  # all zeros stay zeros
        size += 0.5
        codes = np.copysign(np.floor(size, out=size), t, out=size).astype(np.float32)

        r, (eps_outer, eps_inner) = self._r, self._eps
        m2 = r(self._sum_of_squares(v) * inv_n)
        if op.mean_square is MeanSquare.NONE:
            eps = eps_inner
        else:
            own = op.mean_square is MeanSquare.OWN
            total = self._sum_of_squares(x) if own else self._array_stat
            eps = r(eps_inner * r(r(total * inv_n) + eps_outer))
        scale = r(top * self._rsqrt(r(m2 + eps)))
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
        return self._r(total * np.ldexp(1.0, -2 * shift))

    def _mean_square_of_rows(self, op: Instruction, rows: NDArray[np.float32], s: Any) -> Any:
        """Sum of squares of y = acc*s, from the leading bits of the accumulators."""
        a = np.floor(rows * 2.0**-op.stat_shift)
        total = self._sum_squares(a.astype(np.float64)) * 4.0**op.stat_shift
        return self._r(self._r(total) * self._r(s * s))

    def _sum_squares(self, a: Values) -> Any:
        """Exact sums of squares of whole numbers: their sum is below 2**53."""
        return float(a @ a) if self.batch is None else np.einsum("bi,bi->b", a, a)[:, None]

    def _max(self, size: Values) -> Any:
        return float(size.max()) if self.batch is None else size.max(-1, keepdims=True)

    def _r(self, x: Any) -> Any:
        return self.fmt.round1(x) if self.batch is None else self.fmt.round(x)

    def _rsqrt(self, x: Any) -> Any:
        if self.batch is None:
            return functions.rsqrt(self.fmt, x)
        with np.errstate(divide="ignore"):
            return self.fmt.round(np.minimum(1.0 / np.sqrt(x), self.fmt.largest))


class Sampler:
    """Token from logits: argmax, or Gumbel-max with the chip's seeded generator.

    Parameters
    ----------
    inverse_temperature
        1/T, rounded to the vector format; None for greedy.
    seed
        Generator seed; one draw a logit, lowest index first.
    """

    def __init__(self, fmt: Format, inverse_temperature: float | None, seed: int = 0) -> None:
        self.fmt = fmt
        self.factor = None if inverse_temperature is None else fmt.round1(inverse_temperature)
        self.generator = functions.seed_state(seed)

    def __call__(self, logits: ArrayLike) -> int:
        """The next token; the lowest index wins ties."""
        logits = np.asarray(logits, np.float64)
        if self.factor is None:
            return int(np.argmax(logits))
        scaled = self.fmt.round(logits * self.factor)
        size = np.floor(np.abs(scaled) * (1 << functions.NOISE_FRACTION))
        keys = np.copysign(np.minimum(size, functions.KEY_LIMIT - 1), scaled).astype(np.int64)
        noise = np.empty(len(keys), np.int64)
        for k in range(len(keys)):
            self.generator = functions.xorshift32(self.generator)
            noise[k] = functions.gumbel(self.generator)
        return int(np.argmax(keys + noise))
