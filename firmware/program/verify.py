"""Checks that an image is a program the chip can run: what a loader must not take on trust.

Golden model, placement and gateware rely on every rule here instead of checking again.
"""

import math
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from setun.firmware.config import PACKINGS, SLOTS
from setun.firmware.errors import SetunError
from setun.firmware.program.compiler import ALIGN, Image, Matrix, aligned, with_hash
from setun.firmware.program.isa import Instruction, Kernel, MeanSquare, Op

LONGEST = (1 << 16) - 1
"""Most rows or columns of a matrix: what an instruction's 16 bits can say."""
LARGEST_SHIFT = 31


def verify(image: Image, source: str) -> None:
    """Refuse an image that is inconsistent; `source` names it in the error.

    Raises
    ------
    SetunError
        A tensor has another shape than the configuration asks for, or is not finite; the
        program reads what nobody wrote, leaves a memory, or disagrees with the matrices; the
        model hash is another one's.
    """
    c = image.config
    if image.packing not in PACKINGS:
        raise SetunError(source, f"packing must be one of {', '.join(PACKINGS)}", image.packing)
    _check_floats(image.embedding, (c.vocab_size, c.hidden_size), f"{source} embedding")
    _check_floats(image.gates, (c.num_hidden_layers, c.inner_size), f"{source} gates")
    if image.gates.min() < 0.0 or image.gates.max() > 1.0:
        raise SetunError(f"{source} gates", "must be from 0 to 1")
    _check_floats(image.pairs, (len(image.pairs), 2), f"{source} constants")
    if not len(image.pairs) or len(image.pairs) % (ALIGN // 2):
        raise SetunError(f"{source} constants", "must be a multiple of 32 pairs", len(image.pairs))
    names = [m.name for m in image.matrices]
    if len(set(names)) != len(names):
        raise SetunError(source, "matrices have different names")
    for matrix in image.matrices:
        _check_matrix(matrix, f"{source} matrix {matrix.name}")
    _Walk(image, source).run()
    hashed = with_hash(image)
    if hashed.model_hash != image.model_hash or hashed.program[0] != image.program[0]:
        raise SetunError(source, f"model hash must be {hashed.model_hash}", image.model_hash)


def _check_floats(values: NDArray[np.float32], shape: tuple[int, ...], thing: str) -> None:
    if values.dtype != np.float32 or values.shape != shape:
        raise SetunError(
            thing, f"must be float32 {list(shape)}", f"{values.dtype} {list(values.shape)}"
        )
    if not np.isfinite(values).all():
        raise SetunError(thing, "must be finite")


def _check_matrix(matrix: Matrix, thing: str) -> None:
    codes = matrix.codes
    if codes.dtype != np.int8 or codes.ndim != 2 or not 1 <= min(codes.shape):
        raise SetunError(thing, "must be int8 [rows, columns]", f"{codes.dtype} {codes.shape}")
    if max(codes.shape) > LONGEST:
        raise SetunError(
            thing, f"has at most {LONGEST} rows and columns", f"{codes.shape[0]}x{codes.shape[1]}"
        )
    if codes.min() < -1 or codes.max() > 1:
        raise SetunError(thing, "codes are -1, 0 and 1")
    if not 0.0 < matrix.scale < math.inf:
        raise SetunError(thing, "scale must be finite and above 0", matrix.scale)


class _Walk:
    """Follows a program through the memories without computing."""

    def __init__(self, image: Image, source: str) -> None:
        self.image = image
        self.source = source
        self.at = 0
        self.op = Instruction(op=Op.END)
        self.written: dict[int, int] = {}  # start of each vector and its elements
        self.slots: list[tuple[int, int]] = []  # columns, source of quantised vectors in wait
        self.flying: set[int] = set()  # vectors that may still be on their way to memory
        self.before = self.op
        self.matrices = iter(image.matrices)
        self.scalars = False
        self.array_stat = False
        self.samples = 0
        self.ends = 0

    def refuse(self, rule: str, value: object = "") -> NoReturn:
        thing = f"{self.source} instruction {self.at} {self.op.op.name} {self.op.note[:80]}"
        raise SetunError(thing.rstrip(), rule, value)

    def need(self, holds: bool, rule: str, value: object = "") -> None:
        if not holds:
            self.refuse(rule, value)

    def run(self) -> None:
        for at, op in enumerate(self.image.program):
            self.at, self.op = at, op
            self.need((self.op.op is Op.MODEL) == (self.at == 0), "a program starts with MODEL")
            self.need(self.ends < 2, "nothing follows the second END")
            streams = self.op.op is Op.QUANTISE and self.op.stream
            self.need(self.before.feeds == streams, "feeds and stream go together, in this order")
            for name in ("n", "src", "dst"):
                value = getattr(self.op, name)
                self.need(0 <= value <= LONGEST, f"{name} must fit 16 bits", value)
            if self.op.op is Op.SCALARS:
                both = (self.op.constants, self.op.immediate)
                self.need(all(0.0 < eps < 1.0 for eps in both), "epsilons lie between 0 and 1")
                self.scalars = True
            elif self.op.op is Op.EMBED:
                self.embed()
            elif self.op.op is Op.QUANTISE:
                self.quantise()
            elif self.op.op is Op.MATVEC:
                self.matvec()
            elif self.op.op is Op.END:
                self.end()
            self.before = self.op
        self.need(self.ends == 2, "a program has two ENDs", self.ends)
        unused = next(self.matrices, None)
        self.need(unused is None, "every matrix is used", unused and f"{unused.name[:80]} left")

    def embed(self) -> None:
        c, op = self.image.config, self.op
        self.need(self.ends == 0, "must be in the body")
        self.need(op.n == c.hidden_size, f"must have {c.hidden_size} elements", op.n)
        self.need(op.constants == len(self.image.pairs), "rows lie behind the gains", op.constants)
        pitch = aligned(c.hidden_size) // 2
        self.need(op.immediate == pitch, f"rows take {pitch} pairs", op.immediate)
        self.write(op.dst)

    def quantise(self) -> None:
        op, pairs = self.op, len(self.image.pairs)
        self.need(self.scalars, "SCALARS come first")
        self.need(op.n >= 1, "needs elements")
        self.read(op.src)
        self.need(
            op.constants % (ALIGN // 2) == 0 and op.constants + op.n <= pairs,
            f"gains lie within {pairs} pairs at multiples of 32",
            op.constants,
        )
        self.need(op.immediate == 1.0 / op.n, f"immediate must be 1/{op.n}", op.immediate)
        own = op.mean_square is not MeanSquare.ARRAY
        self.need(own or self.array_stat, "no matvec with a GLU came before")
        if op.stream:
            made = (self.before.dst, self.before.n)
            self.need(made == (op.src, op.n), "streams what the matvec before makes", op.src)
            # The quantiser must be free to listen, or matvec and quantiser wait for each other.
            self.need(not self.slots, "no vector waits when one streams", len(self.slots))
        if op.stream or op.sync:
            self.flying.clear()
        self.need(op.src not in self.flying, f"v[{op.src}] may not be stored yet")
        self.slots.append((op.n, op.src))
        self.need(len(self.slots) <= SLOTS, f"at most {SLOTS} vectors wait for the array")

    def matvec(self) -> None:
        op, matrix = self.op, next(self.matrices, None)
        if matrix is None:
            self.refuse("there is no matrix left for it")
        if not self.slots:
            self.refuse("nothing was quantised for it")
        rows, columns = matrix.codes.shape
        self.need(op.n == rows, f"{matrix.name[:80]} has {rows} rows", op.n)
        self.need(
            self.slots[0][0] == columns,
            f"{matrix.name[:80]} has {columns} columns",
            self.slots[0][0],
        )
        scale = matrix.scale / 127.0
        self.need(op.immediate == scale, f"immediate must be {scale}", op.immediate)
        self.need(0 <= op.stat_shift <= LARGEST_SHIFT, "shifts by 31 bits at most", op.stat_shift)
        if not op.keep:
            del self.slots[0]
        if op.kernel in (Kernel.ADD, Kernel.MLGRU, Kernel.GLU):
            self.read(op.src)
        if op.kernel is Kernel.MLGRU:
            self.state(op.dst)
            self.store(op.src)
        elif op.kernel is Kernel.SAMPLE:
            self.need(self.ends == 1, "must be in the head")
            vocabulary = self.image.config.vocab_size
            self.need(op.n == vocabulary, f"must have {vocabulary} rows", op.n)
            self.samples += 1
        else:
            self.store(op.dst)
        stored = op.kernel not in (Kernel.MLGRU, Kernel.SAMPLE)
        self.need(stored or not op.feeds, "only a stored vector feeds")
        self.need(self.ends == 0 or op.kernel is Kernel.SAMPLE, "a head only samples")
        self.array_stat |= op.kernel is Kernel.GLU

    def store(self, start: int) -> None:
        waiting = [source for _, source in self.slots[self.op.keep :]]
        self.need(start not in waiting, f"v[{start}] may not be quantised yet")
        self.write(start)
        self.flying.add(start)

    def end(self) -> None:
        self.need(not self.slots, "every quantised vector is used")
        if self.ends == 0:
            self.need(bool(self.written), "a body embeds its token")
        else:
            self.need(self.samples == 1, "a head samples once", self.samples)
        self.flying.clear()
        self.ends += 1

    def read(self, start: int) -> None:
        have = self.written.get(start)
        self.need(have == self.op.n, f"nobody wrote {self.op.n} elements at v[{start}]")

    def write(self, start: int) -> None:
        n, size = self.op.n, self.image.vector_elements
        self.need(
            n >= 1 and start % ALIGN == 0 and start + n <= size,
            f"v[{start}:+{n}] must be aligned and end within {size} elements",
        )
        for other, length in self.written.items():
            apart = start == other or start + n <= other or other + length <= start
            self.need(apart, f"v[{start}:+{n}] overlaps v[{other}:+{length}]")
        self.written[start] = n

    def state(self, start: int) -> None:
        c = self.image.config
        layer, rest = divmod(start, aligned(c.inner_size))
        self.need(
            rest == 0 and layer < c.num_hidden_layers and self.op.n == c.inner_size,
            f"h[{start}:+{self.op.n}] must be the state of a layer",
        )
