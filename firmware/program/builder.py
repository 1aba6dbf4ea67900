"""The program of a model, written down in the order of execution, whatever the model is.

Two exact pieces of algebra remove work from the chip:

* absmax codes do not change when their input is scaled, so an outer RMSNorm's 1/rms drops out
  of the codes and both gains become one, gain = outer * inner;
* the two 1/rms factors join in one: with m2 = mean((x*outer)**2) and m1 = mean(x**2),
  1/rms = 1/sqrt(m2 + inner_eps*(m1 + eps)). Without an outer norm, m1 + eps is 1.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.image.grouped_matrix import GroupedMatrix
from setun.firmware.image.image import (
    ALIGN,
    Floats,
    Image,
    MemoryMap,
    Region,
    aligned,
)
from setun.firmware.image.matrix import Matrix, PackedMatrix
from setun.firmware.image.model_hash import with_hash
from setun.firmware.image.wide_matrix import WideMatrix
from setun.firmware.numerics.arithmetic import STAT_BITS, MeanSquare
from setun.firmware.numerics.grouped import FACTOR_BITS
from setun.firmware.numerics.ternary import absmean_scale
from setun.firmware.program.isa import Instruction, Op, Table
from setun.firmware.program.kernels import SAMPLE, Kernel, Port

PAIRS = ALIGN // 2  # gains start at multiples of this many pairs
HEADS = TERNARY, FIVE_TRITS = "ternary", "5t"
"""How a head's weights may be stored: as other projections, or as levels of five trits."""


class Builder:
    """Collects instructions, matrices, tables and the map of the memory.

    A body comes first: `embed`, then layers, each begun by `layer`; behind `end` a head, and
    another `end`. Operands are regions that `vector` and `state` have made room for.

    Parameters
    ----------
    name
        The model's, for display.
    packing
        How its ternary matrices are held, and how a file stores them.
    storage
        Of the head, one of `HEADS`.
    """

    def __init__(self, name: str, packing: str = "2b", storage: str = TERNARY) -> None:
        self.name = name
        self.packing = packing
        self.storage = storage
        self._program = [Instruction(op=Op.MODEL)]
        self._matrices: list[Matrix] = []
        self._gains: list[Floats] = []
        self._embedding: Floats | None = None
        self._vectors: list[Region] = []
        self._state: list[Region] = []
        self._gates: list[Floats] = []
        self._cache: list[Region] = []
        self._positions = 0
        self._turns: Floats | None = None
        self._layers: list[Region] = []
        self._open: tuple[str, int] | None = None  # the layer under way and where it begins
        self._fresh: set[int] = set()  # vectors that nobody has waited for since they were written

    def vector(self, name: str, size: int) -> Region:
        """Room for a vector of up to `size` elements."""
        start = self._vectors[-1].end if self._vectors else 0
        self._vectors.append(Region(name, aligned(start), size))
        return self._vectors[-1]

    def state(self, name: str, gates: Floats) -> Region:
        """Room for a recurrent state; `gates` [size] in 0..1 bound how much of it an MLGRU forgets.

        A bound of 1 lets it forget everything: it is 1 minus the least forget gate.
        """
        start = self._state[-1].end if self._state else 0
        self._state.append(Region(name, aligned(start), len(gates)))
        self._gates.append(gates)
        return self._state[-1]

    def positions(self, count: int, turns: NDArray[np.int64]) -> None:
        """Conversations have at most `count` tokens; RoPE's pairs turn by `turns` a position.

        `turns` are `setun.firmware.numerics.rotary.increments`.
        """
        self._positions, self._turns = count, turns.astype(np.float32)

    def cache(self, name: str, size: int) -> Region:
        """Room for `size` elements of each position, right behind what there is."""
        start = self._cache[-1].end if self._cache else 0
        self._cache.append(Region(name, start, size))
        return self._cache[-1]

    def scalars(self, eps: float, inner_eps: float) -> None:
        """The epsilons of the outer norms, and of the norms inside projections."""
        self._program.append(Instruction(op=Op.SCALARS, constants=eps, immediate=inner_eps))

    def embed(self, table: Floats, dst: Region, note: str) -> None:
        """The token's row of `table` [vocabulary, width] into `dst`."""
        self._embedding = table
        self._program.append(Instruction(op=Op.EMBED, n=table.shape[1], dst=dst.start, note=note))
        self._fresh.add(dst.start)

    def layer(self, name: str) -> None:
        """Begin a layer of the body; the one before ends."""
        self._close()
        self._open = name, len(self._program)

    def end(self) -> None:
        """End the body, or the head."""
        self._close()
        self._program.append(Instruction(op=Op.END))
        # What the next part reads was written before it: its first reader waits.
        self._fresh = {region.start for region in self._vectors}

    def quantise(
        self,
        note: str,
        src: Region,
        inner: Floats,
        outer: Floats | None = None,
        mean_square: MeanSquare = MeanSquare.OWN,
    ) -> None:
        """Codes and scale of a projection's input, src[:n]; gains [n] of its norms.

        In step with the matvec that makes the vector, if that is the instruction before; behind
        everything that is under way, if the vector may be; at once otherwise.

        Parameters
        ----------
        mean_square
            That of the outer norm; if `outer` is None it is `MeanSquare.NONE`, or `UNIT` for a
            vector that is not normalised at all.
        """
        n = inner.size
        weight = np.ones_like(inner) if outer is None else outer
        if outer is None and mean_square is not MeanSquare.UNIT:
            mean_square = MeanSquare.NONE
        start = self._pairs(weight, weight * inner)
        before, fresh = self._program[-1], src.start in self._fresh
        stored = before.op is Op.MATVEC and before.kernel.stores is Port.DESTINATION
        stream = stored and (before.dst, before.n) == (src.start, n)
        if stream:
            self._program[-1] = replace(before, feeds=True)
        if fresh:
            self._fresh.clear()
        self._program.append(
            Instruction(
                op=Op.QUANTISE,
                n=n,
                src=src.start,
                constants=start,
                immediate=1.0 / n,
                mean_square=mean_square,
                sync=fresh and not stream,
                stream=stream,
                note=note,
            )
        )

    def _pairs(self, first: Floats, second: Floats) -> int:
        """Where in the table of constants these numbers [n] lie, side by side."""
        block = np.zeros((aligned(first.size, PAIRS), 2), np.float32)
        block[: first.size, 0], block[: second.size, 1] = first, second
        start = sum(len(gains) for gains in self._gains)
        self._gains.append(block)
        return start

    def norm(self, note: str, src: Region, size: int, gains: Floats) -> None:
        """Each head of src[:size] times `gains` [d] over the root of its sum of squares.

        A root mean square's gains are sqrt(d) times as large, its epsilon, the outer one of
        `scalars`, d times.
        """
        self._heads(Op.NORM, note, src, size, gains.size, immediate=self._pairs(gains, gains))

    def rotate(self, note: str, src: Region, size: int, head: int) -> None:
        """Turn each head of src[:size], `head` wide, by RoPE."""
        self._heads(Op.ROTATE, note, src, size, head, immediate=0)

    def store(
        self, note: str, src: Region, dst: Region, head: int, *, values: bool = False
    ) -> None:
        """Codes of each head of src[:dst.size] to the cache: keys, or values."""
        self._heads(Op.CACHE, note, src, dst.size, head, immediate=dst.start, of_values=values)

    def attend(
        self, note: str, src: Region, size: int, head: int, keys: Region, values: Region
    ) -> None:
        """Each query of src[:size], which has log2(e) / sqrt(head) in it, becomes its output."""
        group, apart = size // keys.size, values.start - keys.start
        self._heads(
            Op.ATTEND, note, src, size, head, immediate=keys.start, apart=apart, group=group
        )

    def _heads(self, op: Op, note: str, src: Region, n: int, head: int, **others: Any) -> None:
        instruction = Instruction(op=op, n=n, src=src.start, block=head, note=note, **others)
        self._program.append(instruction)
        self._fresh.clear()

    def matvec(
        self,
        name: str,
        codes: NDArray[np.int8],
        scale: float | NDArray[np.float32],
        kernel: Kernel,
        *,
        src: Region | None = None,
        dst: Region | None = None,
        keep: bool = False,
    ) -> None:
        """Codes [m, n] times the oldest quantised vector, into a kernel.

        Parameters
        ----------
        scale
            What a code of 1 stands for, or [m, n / 128]: in each group of columns of each row.
        src, dst
            What the kernel reads and writes.
        keep
            Leave the quantised vector for the next matvec.
        """
        if isinstance(scale, np.ndarray):
            matrix: Matrix = GroupedMatrix.of_codes(name, codes, scale, self.packing)
        else:
            matrix = PackedMatrix.of_codes(name, codes, scale, self.packing)
        self._multiply(matrix, kernel, src, dst, keep)

    def _multiply(
        self,
        matrix: Matrix,
        kernel: Kernel,
        src: Region | None = None,
        dst: Region | None = None,
        keep: bool = False,
    ) -> None:
        self._matrices.append(matrix)
        bits = math.ceil(math.log2(127 * matrix.columns + 1)) + 1
        bits += FACTOR_BITS if matrix.group else 0
        self._program.append(
            Instruction(
                op=Op.MATVEC,
                n=matrix.rows,
                src=src.start if src else 0,
                dst=dst.start if dst else 0,
                immediate=matrix.scale / 127.0,
                kernel=kernel,
                keep=keep,
                planes=matrix.planes > 1,
                grouped=matrix.group > 0,
                stat_shift=max(0, bits - STAT_BITS),
                note=matrix.name,
            )
        )
        stored = src if kernel.stores is Port.SOURCE else dst
        if stored is not None:
            self._fresh.add(stored.start)

    def project(
        self,
        name: str,
        weight: Floats,
        kernel: Kernel,
        *,
        src: Region | None = None,
        dst: Region | None = None,
        keep: bool = False,
        scale: np.float32 | None = None,
    ) -> None:
        """`matvec` with float weights [m, n], made ternary by their absolute mean.

        `scale` is that of a matrix of which they are some rows.
        """
        scale = absmean_scale(weight) if scale is None else scale
        matrix = PackedMatrix.of_floats(name, weight, scale, self.packing)
        self._multiply(matrix, kernel, src, dst, keep)

    def head(self, name: str, weight: Floats, storage: str = "") -> None:
        """Logits of float weights [m, n], stored as `storage`, else as the builder's, says."""
        if (storage or self.storage) == TERNARY:
            self.project(name, weight, SAMPLE)
        else:
            self._multiply(WideMatrix.of_floats(name, weight), SAMPLE)

    def image(self, tokenizer_json: str | None = None) -> Image:
        """What has been written, with its hash."""
        return with_hash(self.bare(tokenizer_json))

    def bare(self, tokenizer_json: str | None = None) -> Image:
        """`image` without a hash."""
        assert self._embedding is not None, "a body embeds its token"
        gains = np.concatenate(self._gains)
        tables = {Table.CONSTANTS: gains, Table.EMBEDDING: self._embedding}
        cache, positions = tuple(self._cache), self._positions
        memory = MemoryMap(tuple(self._vectors), tuple(self._state), cache, positions)
        if self._turns is not None:
            tables[Table.ROPE] = self._turns
        if self._state:
            gates = np.zeros(memory.state_elements, np.float32)
            for region, values in zip(self._state, self._gates, strict=True):
                gates[region.slice] = values
            tables[Table.GATES] = gates
        # Two elements share a pair, so an embedding row takes half as many pairs as elements.
        vocab_size, width = self._embedding.shape
        program = [
            replace(i, constants=len(gains), immediate=aligned(width) // 2)
            if i.op is Op.EMBED
            else i
            for i in self._program
        ]
        return Image(
            name=self.name,
            vocab_size=vocab_size,
            program=tuple(program),
            layers=tuple(self._layers),
            matrices=tuple(self._matrices),
            tables=tables,
            memory=memory,
            tokenizer_json=tokenizer_json,
            packing=self.packing,
        )

    def _close(self) -> None:
        if self._open is not None:
            name, start = self._open
            self._layers.append(Region(name, start, len(self._program) - start))
        self._open = None
