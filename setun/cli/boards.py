"""`setun boards`: what Setun builds for."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from setun import boards, recipes
from setun.boards import Board
from setun.cli.common import emit, json_option, stages, table

if TYPE_CHECKING:
    from setun.estimate.sizes import Size

CHARACTERS, TOKENS = 64, 32_000

# What people are told of `Board.status`.
STATUS = {
    "runs": "run on hardware",
    "builds": "timing met, RTL equal to golden",
    "verilog": "Verilog, RTL equal to golden",
    "untried": "no bitstream built",
    "assembled": "assembled, not run",
}


def _weights(sizes: "Sequence[Size]", vocabulary: int, *, outside: bool) -> int:
    """Weights of the largest model of that vocabulary, on the chip or in a memory outside."""
    mine = [s for s in sizes if s.vocabulary == vocabulary and s.outside == outside]
    return max((s.weights for s in mine), default=0)


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count else "none"


def _first(board: Board, *cells: str) -> str:
    """What the FPGA has of the first of these cells; the most of any, where there is none."""
    found = next((board.capacity[cell] for cell in cells if cell in board.capacity), 0)
    return f"{found}" if board.has_fpga or not found else f"to {found}"


def _size(bits: int) -> str:
    return f"{bits >> 23} MiB" if bits >= 1 << 23 else f"{bits >> 13} KiB"


def _row(board: Board, sizes: "Sequence[Size]") -> dict[str, object]:
    both = (_weights(sizes, TOKENS, outside=outside) for outside in (False, True))
    return {
        "board": board.name,
        "device": board.device or "any",
        "LUT4": _first(board, "luts"),
        "FF": _first(board, "registers", "luts"),
        "block RAM": _first(board, "block_ram"),
        "multipliers": _first(board, "multipliers"),
        "clock": f"{board.chip_clock_mhz:g} MHz",
        "memory": ", ".join(
            dict.fromkeys(f"{m.kind} {_size(m.bits)}" if m.bits else m.kind for m in board.memory)
        ),
        "weights on chip": _millions(_weights(sizes, CHARACTERS, outside=False)),
        "in memory": _millions(_weights(sizes, CHARACTERS, outside=True)),
        f"of {TOKENS:,} tokens": _millions(max(both)),
        "model": board.model,
        "programmer": board.programmer.partition(" ")[0],
        "status": STATUS[board.status],
    }


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Boards, capacity, memory, model sizes that fit, programmer, status.

    Weights are those of the largest model that some chip of the board's array fits, all resources
    counted: on the chip and in a memory outside, with a vocabulary of 64 characters, and anywhere
    with one of 32,000 tokens, whose embedding takes room too. --json tells what each needs of what
    there is, and what the next larger one lacks. The model is the shipped one to begin with.

    Status, from most to least: "run on hardware"; "timing met, RTL equal to golden": bitstreams
    were made, never tried on the board; of netlists an ECP5's and an iCE40's are compared too;
    "Verilog, RTL equal to golden": simulated, for any FPGA, whose cells are then the most that one
    is known to have; "assembled, not run": a recipe for Vivado (setun generate --recipe vivado
    --board NAME), of which what can be checked without Vivado is.

    \b
    setun boards
    setun boards --json
    """
    from setun.estimate.sizes import sizes

    every = [boards.get(name) for name in boards.names()]
    every += [recipes.get(recipes.VIVADO, name).board() for name in recipes.names()]
    known = []
    with stages() as stage:
        for board in every:
            stage(board.name)
            known.append((board, sizes(board, (CHARACTERS, TOKENS))))

    def described() -> list[dict[str, object]]:
        return [
            {
                **asdict(board),
                "weights": {
                    name: _weights(found, CHARACTERS, outside=outside)
                    for name, outside in (("on_chip", False), ("external", True))
                },
                "sizes": [asdict(size) for size in found],
            }
            for board, found in known
        ]

    rows = [_row(board, found) for board, found in known]
    emit(described(), as_json, lambda: table(rows, list(rows[0])))
