"""Where a chip behind its link first differs from the golden model: layer, unit, index.

The program is straight-line, so a copy of it that ends behind instruction k shows what
instruction k wrote: the finder feeds a token to every such copy and reads the vector back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.mismatch import compare
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, lay_out
from setun.firmware.link import ChipClient
from setun.firmware.program.isa import WORDS, Instruction, Op, Table
from setun.sim.golden import GoldenModel


def layer_of(image: Image, at: int) -> int | None:
    """Number of the layer that instruction `at` is in."""
    return next((k for k, b in enumerate(image.layers) if b.start <= at < b.end), None)


def state_bits(chip: ChipClient, image: Image, start: int = 0) -> NDArray[np.int64]:
    """A context's recurrent state [elements] as bit patterns; it lies at `start`."""
    return chip.read(Space.STATE, start, image.memory.state_elements).astype(np.int64)


def compare_state(
    chip: ChipClient, image: Image, golden: GoldenModel, name: str, start: int = 0
) -> None:
    """Raise `Mismatch` with region and index unless the recurrent states agree."""
    got = state_bits(chip, image, start)
    fmt = golden.numerics.state
    expected = fmt.to_bits(golden.state)
    for layer, r in enumerate(image.memory.state):
        want, have = expected[r.slice], got[r.slice]
        compare(f"state {name}", want, have, fmt, layer=layer, unit="MLGRU")


@dataclass(frozen=True)
class _Step:
    """An instruction that leaves a vector in a memory."""

    index: int
    instruction: Instruction
    unit: str

    @property
    def state(self) -> bool:
        return self.instruction.op is Op.MATVEC and self.instruction.kernel.gated


def _steps(body: Sequence[Instruction]) -> list[_Step]:
    steps = []
    for k, i in enumerate(body):
        if i.op is Op.EMBED:
            steps.append(_Step(k, i, "EMBED"))
        elif i.op is Op.MATVEC:
            steps.append(_Step(k, i, i.kernel.name))
    return steps


def _golden_after(image: Image, config: ChipConfig, step: _Step, token: int) -> NDArray[np.int64]:
    """Bits that `step` leaves when `token` is fed to a fresh model whose body ends behind it."""
    ends = [k for k, i in enumerate(image.program) if i.op is Op.END]
    program = (*image.program[: step.index + 1], *image.program[ends[0] :])
    golden = GoldenModel(replace(image, program=program), config.numerics)
    fmt = config.numerics.state if step.state else config.vector
    values: dict[tuple[str, str], Any] = {}
    golden.trace = lambda note, unit, x: values.__setitem__((note, unit), x)
    golden.feed(token)
    if step.instruction.op is Op.EMBED:
        wanted = fmt.round(image.tables[Table.EMBEDDING][token])
    else:
        wanted = values[step.instruction.note, step.unit]
    return fmt.to_bits(wanted).astype(np.int64)


def starts(config: ChipConfig, context: int) -> dict[Space, int]:
    """Where the state of a context lies, and the vectors that its latest token has left."""
    vector = config.lanes << (config.vector_words - 1).bit_length()
    return {Space.STATE: context * config.state_stride, Space.VECTOR: context * vector}


def find_mismatch(
    chip: ChipClient, image: Image, config: ChipConfig, token: int, context: int = 0
) -> None:
    """Feed `token` to ever longer pieces of the body; raise `Mismatch` at the first difference.

    Overwrites the program while it runs and restores it; the context is left reset.
    """
    words = lay_out(image, config).spaces[Space.PROGRAM]
    body = image.program[: next(k for k, i in enumerate(image.program) if i.op is Op.END)]
    end = [int(x) for x in Instruction(op=Op.END).encode(config.vector)]
    try:
        for step in _steps(body):
            i = step.instruction
            at = WORDS * step.index
            # A slot kept for a matvec that never comes would be in the way of the next run, and
            # a matvec that feeds would wait for a quantiser that never listens.
            alone = replace(i, keep=False, feeds=False).adapted(config.numerics)
            last = [int(x) for x in alone.encode(config.vector)]
            last[2] = int(words[at + 2])  # a matvec's weight words are the layout's
            chip.write(Space.PROGRAM, at, last + end)
            chip.prompt([token], context)
            space = Space.STATE if step.state else Space.VECTOR
            got = chip.read(space, starts(config, context)[space] + i.dst, i.n).astype(np.int64)
            chip.write(Space.PROGRAM, at, words[at : at + 2 * WORDS])
            compare(
                i.note or "embedding",
                _golden_after(image, config, step, token),
                got,
                config.numerics.state if step.state else config.vector,
                layer=layer_of(image, step.index),
                unit=step.unit,
            )
    finally:
        chip.write(Space.PROGRAM, 0, words)
        chip.reset(context)
