"""Proofs of the controllers' units, and mutants of the units that the proofs refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from formal.prove import Proof, mutant, prove
from formal.units import Axi4Proof, DmaProof, GearboxProof, MailboxProof, RegistersProof
from setun.hw.link import mailbox
from setun.hw.memory.controllers import axi4, axi4_lite, dma, gearbox

CONTROLLERS = "setun.hw.memory.controllers."
MAILBOX = "setun.hw.link.mailbox"


def a_gearbox(module: Any, i_bits: int, o_bits: int) -> Proof:
    return GearboxProof(module.Gearbox(i_bits, o_bits), bits=32)


def a_dma(module: Any, beat: int = 8, weight_bits: int = 8) -> Proof:
    # A short last burst: 22 beats of 8 bits.
    return DmaProof(
        module.WeightDma(beat=beat, capacity=24, weight_bits=weight_bits, burst=4, depth=8)
    )


def a_reader(module: Any) -> Proof:
    return Axi4Proof(module.Axi4Reader(128, 12 << 10, address_bits=16, outstanding=2))


def registers(module: Any) -> Proof:
    return RegistersProof(module.ControlRegisters(2))


def a_mailbox(module: Any) -> Proof:
    return MailboxProof(module.Mailbox(depth=2))


@pytest.mark.parametrize(
    ("i_bits", "o_bits"), [(2, 3), (3, 2), (3, 5), (5, 3), (1, 3), (3, 1), (4, 6)]
)
def test_gearbox_keeps_order(i_bits: int, o_bits: int, tmp_path: Path) -> None:
    # Every phase of the ratio is passed once at least.
    verdict = prove(a_gearbox(gearbox, i_bits, o_bits), tmp_path, depth=14)
    assert verdict.bounded, verdict.log


@pytest.mark.parametrize(("beat", "weight_bits"), [(8, 8), (16, 24), (8, 24), (24, 16)])
def test_dma_has_room_for_every_beat(beat: int, weight_bits: int, tmp_path: Path) -> None:
    verdict = prove(a_dma(dma, beat, weight_bits), tmp_path, depth=12, induction=4)
    assert verdict.bounded and verdict.inductive, verdict.log


def test_axi4_master(tmp_path: Path) -> None:
    verdict = prove(a_reader(axi4), tmp_path, depth=12, induction=3)
    assert verdict.bounded and verdict.inductive, verdict.log


def test_axi4_lite_slave(tmp_path: Path) -> None:
    verdict = prove(registers(axi4_lite), tmp_path, depth=10, induction=3)
    assert verdict.bounded and verdict.inductive, verdict.log


def test_mailbox_keeps_every_byte(tmp_path: Path) -> None:
    verdict = prove(a_mailbox(mailbox), tmp_path, depth=12)
    assert verdict.bounded, verdict.log


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # Bytes overwritten on their way, a byte that comes with a read lost, one told twice,
        # a write that should have been refused, a full FIFO that takes a byte.
        ("& ((left == 0) | ~here)", ""),
        ("count.eq(kept + pull)", "count.eq(Mux(taken, 0, count + pull))"),
        ("kept.eq(Mux(taken, 0, count))", "kept.eq(count)"),
        ("with m.If(here & fits):", "with m.If(here):"),
        ("self.i.ready.eq(waiting.w_rdy)", "self.i.ready.eq(1)"),
    ],
)
def test_mutants_of_the_mailbox_are_refused(old: str, new: str, tmp_path: Path) -> None:
    verdict = prove(a_mailbox(mutant(MAILBOX, old, new)), tmp_path, depth=12)
    assert not verdict.bounded, f"{old} -> {new} passes"


def widening(module: Any) -> Proof:
    return a_gearbox(module, 3, 4)


def narrowing(module: Any) -> Proof:
    return a_gearbox(module, 3, 2)


MUTANTS: list[tuple[str, Callable[[Any], Proof], str, str]] = [
    ("gearbox", widening, "[-s % a for s in range(b)]", "[s % a for s in range(b)]"),
    ("gearbox", widening, "gathered[p].eq(gathered[b + p])", "gathered[p].eq(gathered[p])"),
    ("gearbox", narrowing, "left.eq(beat[-len(left) :])", "left.eq(beat[: len(left)])"),
    ("gearbox", narrowing, "start >= a - b", "start > a - b"),
    # Requests without room, stale beats miscounted, an offer withdrawn, hold ignored.
    ("dma", a_dma, "self.room >= self.burst * self.beat_cost", "self.room > 0"),
    ("dma", a_dma, "stale.eq(pending - self.i.valid)", "stale.eq(pending)"),
    ("dma", a_dma, "with m.If(~waits):", "with m.If(~waits | self.restart):"),
    ("dma", a_dma, "| self.hold ", ""),
    # More outstanding than said, 4 KB crossed, an offer withdrawn, bursts beside a write,
    # beats taken that nobody has room for, the error latch forgetting.
    ("axi4", a_reader, "& (self.pending != self.outstanding)", ""),
    ("axi4", a_reader, "Cat(offset[:12], self.base[12:] + offset[12:])", "self.base + offset"),
    ("axi4", a_reader, "with m.If(~axi.arvalid | axi.arready):", "with m.If(Const(1)):"),
    ("axi4", a_reader, "& ~(reading | writing)", "& ~reading"),
    ("axi4", a_reader, "axi.rready.eq(self.o.ready | reading)", "axi.rready.eq(1)"),
    ("axi4", a_reader, "(self.error & ~self.clear) | failed", "failed"),
    # Two requests with one response, a response overwritten, an error hidden.
    ("axi4_lite", registers, "axi.wvalid & ~axi.bvalid", "axi.wvalid"),
    ("axi4_lite", registers, "axi.arready.eq(~axi.rvalid | axi.rready)", "axi.arready.eq(1)"),
    ("axi4_lite", registers, "axi.rresp.eq(SLVERR)", "axi.rresp.eq(OKAY)"),
]


@pytest.mark.parametrize(("module", "proof", "old", "new"), MUTANTS)
def test_mutants_are_refused(
    module: str, proof: Callable[[Any], Proof], old: str, new: str, tmp_path: Path
) -> None:
    verdict = prove(proof(mutant(CONTROLLERS + module, old, new)), tmp_path, depth=12)
    assert not verdict.bounded, f"{old} -> {new} passes"
