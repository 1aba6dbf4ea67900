"""Checks that an image is a program the chip can run: what a loader must not take on trust.

Golden model, memory layout and gateware rely on every rule here instead of checking again.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np

from setun.firmware.config import PACKINGS, SLOTS
from setun.firmware.errors import SetunError
from setun.firmware.image.image import ALIGN, Floats, Image, MemoryMap, Region, aligned
from setun.firmware.image.matrix import Matrix
from setun.firmware.image.model_hash import with_hash
from setun.firmware.numerics.arithmetic import MeanSquare
from setun.firmware.numerics.rotary import PHASE_BITS
from setun.firmware.program import kernels, machine
from setun.firmware.program.isa import MOST_TOKENS, PLACES, WIDE, Instruction, Kind, Op, Table
from setun.firmware.program.kernels import Port
from setun.firmware.program.machine import Step

LONGEST = (1 << WIDE["n"].bits) - 1
"""Most rows or columns of a matrix: what an instruction can say."""
REACH = WIDE["dst"].grain << WIDE["dst"].bits
"""Elements of a memory that an instruction can address."""
MOST_POSITIONS = 1 << 20
"""Of a conversation: a phase is a position's product with 24 bits."""
WIDEST_HEAD = 1 << 10
_LIMITS = {
    name: replace(place, bits=place.bits + place.grain.bit_length() - 1, grain=1)
    for name, place in WIDE.items()
}


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
    for thing in ("vectors", "state", "cache"):
        regions: tuple[Region, ...] = getattr(memory, thing)
        _check_regions(regions, f"{source} {thing}", REACH)
        for region in regions:
            if region.start % ALIGN and thing != "cache":
                rule = f"{region.name[:80]} must start at a multiple of {ALIGN}"
                raise SetunError(f"{source} {thing}", rule, region.start)
    limit = MOST_POSITIONS if memory.cache else 0
    if not bool(memory.cache) <= memory.positions <= limit:
        rule = f"must be 1 to {limit}" if limit else "must be 0 without a cache"
        raise SetunError(f"{source} positions", rule, memory.positions)


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
    if any(i.op is Op.ROTATE for i in image.program):
        used.add(Table.ROPE)
    if set(image.tables) != used:
        found = ", ".join(sorted(image.tables))
        raise SetunError(source, f"tables are {', '.join(sorted(used))}", found[:80])
    for name, values in image.tables.items():
        _check_floats(values, f"{source} {name}")
    if image.vocab_size > MOST_TOKENS:
        rule = f"must have at most {MOST_TOKENS} tokens"
        raise SetunError(f"{source} vocabulary", rule, image.vocab_size)
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
    if Table.ROPE in used:
        turns = image.tables[Table.ROPE]
        _check_shape(turns, (None,), f"{source} rope")
        if turns.min() < 0 or turns.max() >= 1 << PHASE_BITS or (turns % 1).any():
            raise SetunError(f"{source} rope", f"must be whole numbers of {PHASE_BITS} bits")


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
    shape = matrix.rows, matrix.columns
    if not 1 <= min(shape):
        raise SetunError(thing, "must have rows and columns", f"{shape[0]}x{shape[1]}")
    if max(shape) > LONGEST:
        raise SetunError(thing, f"has at most {LONGEST} rows and columns", f"{shape[0]}x{shape[1]}")
    matrix.check(thing)
    if not 0.0 < matrix.scale < math.inf:
        raise SetunError(thing, "scale must be finite and above 0", matrix.scale)


class _Walk(machine.Visitor):
    """Follows a program through the memories without computing."""

    def __init__(self, image: Image, source: str) -> None:
        self.image = image
        self.source = source
        self.at = 0
        self.do = self.before = Instruction(op=Op.END)
        self.written: dict[int, int] = {}  # start of each vector and its elements
        self.slots: list[tuple[int, int]] = []  # columns, source of quantised vectors in wait
        self.flying: set[int] = set()  # vectors that may still be on their way to memory
        self.matrices = 0
        self.pairs = len(image.tables[Table.CONSTANTS])
        self.vectors = {r.start: r for r in image.memory.vectors}
        self.states = {r.start: r for r in image.memory.state}
        self.caches = {r.start: r for r in image.memory.cache}
        # Start of each region of the cache, its heads' width, whether it has values.
        self.cached: dict[int, tuple[int, bool]] = {}
        self.epsilons = False
        self.statistic = False
        self.samples = 0
        self.ends = 0

    def refuse(self, rule: str, value: object = "") -> NoReturn:
        thing = f"{self.source} instruction {self.at} {self.do.op.name} {self.do.note[:80]}"
        raise SetunError(thing.rstrip(), rule, value)

    def need(self, holds: bool, rule: str, value: object = "") -> None:
        if not holds:
            self.refuse(rule, value)

    def run(self) -> None:
        for visit, step in machine.bound(self, machine.steps(self.image)):
            self.at, self.do = step.at, step.do
            self.need((self.do.op is Op.MODEL) == (self.at == 0), "a program starts with MODEL")
            self.need(self.ends < 2, "nothing follows the second END")
            streams = self.do.op is Op.QUANTISE and self.do.stream
            self.need(self.before.feeds == streams, "feeds and stream go together, in this order")
            self.fields()
            visit(step)
            self.before = self.do
        self.need(self.ends == 2, "a program has two ENDs", self.ends)
        left = [m.name[:80] for m in self.image.matrices[self.matrices :]]
        self.need(not left, "every matrix is used", left and f"{left[0]} left")

    def fields(self) -> None:
        """Every value is one that its field can hold, and stands in a field of the operation."""
        try:
            self.do.check(PLACES if self.do.op is Op.MODEL else _LIMITS)
        except SetunError as error:
            self.refuse(error.rule, error.value)
        for field in self.do.op.fields:
            if field.kind is Kind.KERNEL:
                kernel = getattr(self.do, field.name)
                self.need(kernel in kernels.KERNELS, "must be a kernel of the chip's", kernel)
        known = {"op", "note", *(field.name for field in self.do.op.fields)}
        for other in dataclasses.fields(self.do):
            if other.name not in known:
                value = getattr(self.do, other.name)
                self.need(value == other.default, f"has no field {other.name}", value)

    model = machine.nothing

    def scalars(self, step: Step) -> None:
        both = (self.do.constants, self.do.immediate)
        self.need(all(0.0 < eps < 1.0 for eps in both), "epsilons lie between 0 and 1")
        self.epsilons = True

    def embed(self, step: Step) -> None:
        do, width = self.do, self.image.tables[Table.EMBEDDING].shape[1]
        self.need(self.ends == 0, "must be in the body")
        self.need(do.n == width, f"must have {width} elements", do.n)
        self.need(do.constants == self.pairs, "rows lie behind the gains", do.constants)
        pitch = aligned(width) // 2
        self.need(do.immediate == pitch, f"rows take {pitch} pairs", do.immediate)
        self.write(do.dst)

    def quantise(self, step: Step) -> None:
        do, pairs = self.do, self.pairs
        self.need(self.epsilons, "SCALARS come first")
        self.need(do.n >= 1, "needs elements")
        self.read(do.src)
        self.need(
            do.constants % (ALIGN // 2) == 0 and do.constants + do.n <= pairs,
            f"gains lie within {pairs} pairs at multiples of 32",
            do.constants,
        )
        self.need(do.immediate == 1.0 / do.n, f"immediate must be 1/{do.n}", do.immediate)
        of_rows = do.mean_square is MeanSquare.ARRAY
        self.need(self.statistic or not of_rows, "no matvec with a GLU came before")
        if do.stream:
            made = (self.before.dst, self.before.n)
            self.need(made == (do.src, do.n), "streams what the matvec before makes", do.src)
            # The quantiser must be free to listen, or matvec and quantiser wait for each other.
            self.need(not self.slots, "no vector waits when one streams", len(self.slots))
        if do.stream or do.sync:
            self.flying.clear()
        self.need(do.src not in self.flying, f"v[{do.src}] may not be stored yet")
        self.slots.append((do.n, do.src))
        self.need(len(self.slots) <= SLOTS, f"at most {SLOTS} vectors wait for the array")

    def matvec(self, step: Step) -> None:
        do, kernel, matrix = self.do, self.do.kernel, step.matrix
        if matrix is None:
            self.refuse("there is no matrix left for it")
        self.matrices += 1
        if not self.slots:
            self.refuse("nothing was quantised for it")
        name, columns = matrix.name[:80], self.slots[0][0]
        self.need(do.n == matrix.rows, f"{name} has {matrix.rows} rows", do.n)
        self.need(columns == matrix.columns, f"{name} has {matrix.columns} columns", columns)
        scale = matrix.scale / 127.0
        self.need(do.immediate == scale, f"immediate must be {scale}", do.immediate)
        self.need(do.planes == (matrix.planes > 1), f"{name} has {matrix.planes} planes")
        self.need(kernel.samples or not do.planes, "only a head has planes")
        groups = f"{name} has {'scales of groups' if matrix.group else 'one scale'}"
        self.need(do.grouped == bool(matrix.group), groups)
        if not do.keep:
            del self.slots[0]
        if Port.SOURCE in kernel.reads:
            self.read(do.src)
        if kernel.gated:
            self.state(do.dst)
        if kernel.stores:
            self.store(do.src if kernel.stores is Port.SOURCE else do.dst)
        if kernel.samples:
            self.need(self.ends == 1, "must be in the head")
            vocabulary = self.image.vocab_size
            self.need(do.n == vocabulary, f"must have {vocabulary} rows", do.n)
            self.samples += 1
        stored = kernel.stores is Port.DESTINATION
        self.need(stored or not do.feeds, "only a stored vector feeds")
        self.need(self.ends == 0 or kernel.samples, "a head only samples")
        # Rows with scales of their own are not summed as they are.
        if kernel.summed:
            self.statistic = not do.grouped

    def heads(self) -> None:
        """What operations on heads of a vector have in common; each waits for what flies.

        They read vectors where the quantiser reads them: it must have nothing to do.
        """
        do = self.do
        self.need(not self.slots, "no quantised vector waits for the array", len(self.slots))
        self.need(self.ends == 0, "must be in the body")
        self.flying.clear()
        self.read(do.src)
        whole = 1 <= do.block <= WIDEST_HEAD and do.block % 2 == 0 and do.n % do.block == 0
        self.need(whole, f"heads have an even width that {do.n} is a multiple of", do.block)

    def norm(self, step: Step) -> None:
        self.need(self.epsilons, "SCALARS come first")
        self.heads()
        first = self.do.immediate
        within = first % (ALIGN // 2) == 0 and first + self.do.block <= self.pairs
        rule = f"gains lie within {self.pairs} pairs at multiples of 32"
        self.need(within, rule, first)

    def rotate(self, step: Step) -> None:
        self.need(self.image.memory.positions > 0, "needs positions")
        self.heads()
        turns = len(self.image.tables[Table.ROPE])
        within = self.do.immediate + self.do.block // 2 <= turns
        self.need(within, f"phases lie within {turns}", self.do.immediate)

    def cache(self, step: Step) -> None:
        do, start = self.do, int(self.do.immediate)
        region = self.caches.get(start)
        self.heads()
        fits = region is not None and do.n == region.size
        self.need(fits, f"c[{start}:+{do.n}] must be a region of the cache")
        self.need(start not in self.cached, f"c[{start}] is written once a token")
        self.cached[start] = do.block, do.of_values

    def attend(self, step: Step) -> None:
        do = self.do
        self.heads()
        sizes = []
        keys = int(do.immediate)
        for start, thing in ((keys, "keys"), (keys + do.apart, "values")):
            found = self.cached.get(start)
            wanted = do.block, thing == "values"
            self.need(found == wanted, f"nobody wrote {thing} of {do.block} a head at c[{start}]")
            sizes.append(self.caches[start].size)
        self.need(sizes[0] == sizes[1], "as many keys as values", f"{sizes[0]}, {sizes[1]}")
        rule = f"groups of queries share {sizes[0]} elements of keys"
        self.need(do.n == do.group * sizes[0], rule, f"{do.n}, {do.group} a group")

    def store(self, start: int) -> None:
        waiting = [source for _, source in self.slots[self.do.keep :]]
        self.need(start not in waiting, f"v[{start}] may not be quantised yet")
        self.write(start)
        self.flying.add(start)

    def end(self, step: Step) -> None:
        self.need(not self.slots, "every quantised vector is used")
        if self.ends == 0:
            self.need(bool(self.written), "a body embeds its token")
        else:
            self.need(self.samples == 1, "a head samples once", self.samples)
        self.flying.clear()
        self.ends += 1

    def read(self, start: int) -> None:
        have = self.written.get(start)
        self.need(have == self.do.n, f"nobody wrote {self.do.n} elements at v[{start}]")

    def write(self, start: int) -> None:
        n, region = self.do.n, self.vectors.get(start)
        fits = region is not None and 1 <= n <= region.size
        self.need(fits, f"v[{start}:+{n}] must be at the start of a region and end within it")
        self.written[start] = n

    def state(self, start: int) -> None:
        n, region = self.do.n, self.states.get(start)
        fits = region is not None and n == region.size
        self.need(fits, f"h[{start}:+{n}] must be a region of the state")
