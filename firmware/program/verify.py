"""Checks that an image is a program the chip can run: what a loader must not take on trust.

Golden model, memory layout and gateware rely on every rule here instead of checking again.
"""

import math
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from setun.firmware.config import PACKINGS, SLOTS
from setun.firmware.errors import SetunError
from setun.firmware.image.image import ALIGN, Floats, Image, Matrix, MemoryMap, Region, aligned
from setun.firmware.image.model_hash import with_hash
from setun.firmware.program.isa import Instruction, Kernel, MeanSquare, Op, Table

LONGEST = (1 << 16) - 1
"""Most rows or columns of a matrix: what an instruction's 16 bits can say."""
LARGEST_SHIFT = 31


def verify(image: Image, source: str) -> None:
    """Refuse an image that is inconsistent; `source` names it in the error.

    Raises
    ------
    SetunError
        Regions overlap; a table has another shape than the program or the map asks for, or is not
        finite; the program reads what nobody wrote, leaves a region, or disagrees with the
        matrices; the model hash is another one's.
    """
    if image.packing not in PACKINGS:
        raise SetunError(source, f"packing must be one of {', '.join(PACKINGS)}", image.packing)
    _check_map(image.memory, source)
    _check_tables(image, source)
    names = [m.name for m in image.matrices]
    if len(set(names)) != len(names):
        raise SetunError(source, "matrices have different names")
    for matrix in image.matrices:
        _check_matrix(matrix, f"{source} matrix {matrix.name}")
    _Walk(image, source).run()
    _check_layers(image, source)
    hashed = with_hash(image)
    if hashed.model_hash != image.model_hash or hashed.program[0] != image.program[0]:
        raise SetunError(source, f"model hash must be {hashed.model_hash}", image.model_hash)


def _check_map(memory: MemoryMap, source: str) -> None:
    for thing, regions in (("vectors", memory.vectors), ("state", memory.state)):
        _check_regions(regions, f"{source} {thing}", LONGEST + 1)
        for region in regions:
            if region.start % ALIGN:
                rule = f"{region.name[:80]} must start at a multiple of {ALIGN}"
                raise SetunError(f"{source} {thing}", rule, region.start)


def _check_regions(regions: Sequence[Region], thing: str, limit: int) -> None:
    """Refuse regions without names of their own, out of order, overlapping or beyond `limit`."""
    names, end = set(), 0
    for region in regions:
        if region.name in names or not region.name or not region.name.isprintable():
            raise SetunError(thing, "regions have different names", f"{region.name[:40]!a}")
        names.add(region.name)
        if not (end <= region.start < region.end <= limit):
            rule = f"{region.name[:80]} must follow the one before and end within {limit}"
            raise SetunError(thing, rule, f"{region.start}+{region.size}")
        end = region.end


def _check_tables(image: Image, source: str) -> None:
    memory, used = image.memory, {Table.CONSTANTS, Table.EMBEDDING}
    if memory.state:
        used.add(Table.GATES)
    if set(image.tables) != used:
        found = ", ".join(sorted(image.tables))
        raise SetunError(source, f"tables are {', '.join(sorted(used))}", found[:80])
    for name, values in image.tables.items():
        _check_floats(values, f"{source} {name}")
    _check_shape(image.tables[Table.EMBEDDING], (image.vocab_size, None), f"{source} embedding")
    constants = image.tables[Table.CONSTANTS]
    _check_shape(constants, (None, 2), f"{source} constants")
    if len(constants) % (ALIGN // 2):
        rule = "must be a multiple of 32 pairs"
        raise SetunError(f"{source} constants", rule, len(constants))
    if memory.state:
        gates = image.tables[Table.GATES]
        _check_shape(gates, (memory.state_elements,), f"{source} gates")
        if gates.min() < 0.0 or gates.max() > 1.0:
            raise SetunError(f"{source} gates", "must be from 0 to 1")


def _check_floats(values: Floats, thing: str) -> None:
    if values.dtype != np.float32:
        raise SetunError(thing, "must be float32", values.dtype)
    if not values.size or not np.isfinite(values).all():
        raise SetunError(thing, "must be finite")


def _check_shape(values: Floats, shape: tuple[int | None, ...], thing: str) -> None:
    """Refuse a table of another shape; None stands for any length."""
    fits = values.ndim == len(shape) and all(
        n in (None, m) for n, m in zip(shape, values.shape, strict=True)
    )
    if not fits:
        rule = ", ".join("n" if n is None else str(n) for n in shape)
        raise SetunError(thing, f"must be [{rule}]", list(values.shape))


def _check_layers(image: Image, source: str) -> None:
    body = next(k for k, i in enumerate(image.program) if i.op is Op.END)
    _check_regions(image.layers, f"{source} layers", body)


def _check_matrix(matrix: Matrix, thing: str) -> None:
    codes, shape = matrix.codes(), (matrix.rows, matrix.columns)
    if codes.dtype != np.int8 or codes.shape != shape or not 1 <= min(shape):
        raise SetunError(thing, "must be int8 [rows, columns]", f"{codes.dtype} {codes.shape}")
    if max(shape) > LONGEST:
        raise SetunError(thing, f"has at most {LONGEST} rows and columns", f"{shape[0]}x{shape[1]}")
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
        self.pairs = len(image.tables[Table.CONSTANTS])
        self.vectors = {r.start: r for r in image.memory.vectors}
        self.states = {r.start: r for r in image.memory.state}
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
        op, width = self.op, self.image.tables[Table.EMBEDDING].shape[1]
        self.need(self.ends == 0, "must be in the body")
        self.need(op.n == width, f"must have {width} elements", op.n)
        self.need(op.constants == self.pairs, "rows lie behind the gains", op.constants)
        pitch = aligned(width) // 2
        self.need(op.immediate == pitch, f"rows take {pitch} pairs", op.immediate)
        self.write(op.dst)

    def quantise(self) -> None:
        op, pairs = self.op, self.pairs
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
        name, columns = matrix.name[:80], self.slots[0][0]
        self.need(op.n == matrix.rows, f"{name} has {matrix.rows} rows", op.n)
        self.need(columns == matrix.columns, f"{name} has {matrix.columns} columns", columns)
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
            vocabulary = self.image.vocab_size
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
        n, region = self.op.n, self.vectors.get(start)
        fits = region is not None and 1 <= n <= region.size
        self.need(fits, f"v[{start}:+{n}] must be at the start of a region and end within it")
        self.written[start] = n

    def state(self, start: int) -> None:
        n, region = self.op.n, self.states.get(start)
        fits = region is not None and n == region.size
        self.need(fits, f"h[{start}:+{n}] must be a region of the state")
