"""Order of a token's records: complete, and no lock however little room the units have."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun.firmware.image.stream_order import (
    AHEAD,
    GAINED,
    LOOKAHEAD,
    Item,
    Piece,
    stream_order,
)
from setun.firmware.program.isa import Instruction, Op
from setun.firmware.program.kernels import ADD, COPY, MLGRU
from setun.models.random import random_image


@st.composite
def programs(draw: st.DrawFn) -> list[Instruction]:
    """Quantises in front of their matvecs, some of which feed the quantise behind them.

    Norms of heads stand between, behind what does not feed.
    """
    program = [Instruction(op=Op.SCALARS), Instruction(op=Op.EMBED)]
    feeds = False
    for _ in range(draw(st.integers(1, 25))):
        for _ in range(0 if feeds else draw(st.integers(0, 2))):
            program.append(Instruction(op=Op.NORM, block=16))
        many = draw(st.integers(1, 3))
        for k in range(many):
            program.append(Instruction(op=Op.QUANTISE, stream=feeds and k == 0))
        matvecs = many + draw(st.integers(0, 2))
        for k in range(matvecs):
            kernel = draw(st.sampled_from([COPY, MLGRU, ADD]))
            feeds = k == matvecs - 1 and kernel is not MLGRU and draw(st.booleans())
            program.append(Instruction(op=Op.MATVEC, kernel=kernel, feeds=feeds))
    if feeds:
        program.append(Instruction(op=Op.QUANTISE, stream=True))
        program.append(Instruction(op=Op.MATVEC))
    program.append(Instruction(op=Op.END))
    return program


class Chip:
    """Units that begin an instruction only when the one before is done, with the least room."""

    def __init__(self, program: Sequence[Instruction], *, gains: bool, gates: bool) -> None:
        self.program = program
        self.waiting: list[int] = []  # instructions
        self.kept = {Piece.GAINS: not gains, Piece.GATES: not gates}
        self.held = dict.fromkeys(self.kept, 0)  # blocks
        self.unused: dict[Piece, list[int]] = {piece: [] for piece in self.kept}
        self.busy: list[int] = []  # matvecs begun
        self.done: list[int] = []

    def fits(self, item: Item) -> bool:
        """Whether there is room for a whole record, or for a matvec's weights somebody to take."""
        if item.piece is Piece.INSTRUCTIONS:
            return len(self.waiting) < LOOKAHEAD
        if item.piece is Piece.WEIGHTS:
            return item.first in self.busy and not self._feeding(item.first)
        return self.held[item.piece] < AHEAD

    def _feeding(self, matvec: int) -> bool:
        """Whether the quantise that listens to the matvec has not begun."""
        return self.program[matvec].feeds and matvec + 1 not in self.done

    def take(self, item: Item) -> None:
        if item.piece is Piece.WEIGHTS:
            self.busy.remove(item.first)
            self.done.append(item.first)
            if self.program[item.first].kernel is MLGRU and not self.kept[Piece.GATES]:
                self.held[Piece.GATES] -= 1
        elif item.piece is not Piece.INSTRUCTIONS:
            self.held[item.piece] += 1
            self.unused[item.piece].append(item.first)

    def _block(self, piece: Piece, user: int) -> bool:
        if self.kept[piece]:
            return True
        if not self.unused[piece]:
            return False
        assert self.unused[piece][0] == user, "another's block"
        return True

    def step(self) -> bool:
        """Begin the next instruction if it may; whether it did."""
        if not self.waiting:
            return False
        at = self.waiting[0]
        op = self.program[at]
        if self.busy and not (op.op is Op.QUANTISE and op.stream and self.busy == [at - 1]):
            return False
        if op.op in GAINED:
            if not self._block(Piece.GAINS, at):
                return False
            if not self.kept[Piece.GAINS]:
                self.unused[Piece.GAINS].pop(0)
                self.held[Piece.GAINS] -= 1
            self.done.append(at)
        elif op.op is Op.MATVEC:
            if op.kernel is MLGRU:
                if not self._block(Piece.GATES, at):
                    return False
                if not self.kept[Piece.GATES]:
                    self.unused[Piece.GATES].pop(0)
            self.busy.append(at)
        else:
            self.done.append(at)
        self.waiting.pop(0)
        return True


def play(program: Sequence[Instruction], *, gains: bool, gates: bool) -> None:
    """Run a program on such a chip; AssertionError where it locks or something is missing."""
    chip = Chip(program, gains=gains, gates=gates)
    for item in stream_order(program, gains=gains, gates=gates):
        pieces = [item]
        if item.piece is Piece.INSTRUCTIONS:
            pieces = [Item(item.piece, k, k + 1) for k in range(item.first, item.last)]
        for piece in pieces:
            while not chip.fits(piece):
                assert chip.step(), f"{piece} waits for ever"
            chip.take(piece)
            if piece.piece is Piece.INSTRUCTIONS:
                chip.waiting.append(piece.first)
    while chip.step():
        pass
    assert sorted(chip.done) == list(range(len(program)))


@given(programs(), st.booleans(), st.booleans())
def test_nothing_locks(program: list[Instruction], gains: bool, gates: bool) -> None:
    play(program, gains=gains, gates=gates)


@pytest.mark.parametrize("layers", [1, 2, 7])
def test_a_model_runs_and_its_constants_come_a_matvec_ahead(layers: int) -> None:
    program = random_image((64, layers, 128)).program
    play(program, gains=True, gates=True)
    order = list(stream_order(program))
    weights = {item.first: k for k, item in enumerate(order) if item.piece is Piece.WEIGHTS}
    matvecs = sorted(weights)
    for k, item in enumerate(order):
        if item.piece in (Piece.GAINS, Piece.GATES):
            before = [m for m in matvecs if m < item.first]
            assert not before or k < weights[before[-1]], item
