"""`setun boards`: what Setun builds for."""

from dataclasses import asdict

import click

from setun import boards
from setun.boards import Board
from setun.cli.common import emit, json_option, table

TRIT = 1.6  # bits of a weight


def _room(board: Board) -> dict[str, int | None]:
    """Ternary weights that fit: beside the rest of the demo model's chip, and in the memories."""
    from setun.firmware.config import ChipConfig
    from setun.firmware.image.memory_layout import sized_for
    from setun.hw.cores import core_gateware
    from setun.hw.emit.resources import block_ram
    from setun.models.load import load_model

    if not board.has_fpga:
        return {"on_chip": None, "external": None}
    plain = ChipConfig.from_dict({**ChipConfig().to_dict(), **board.chip})
    held = core_gateware(plain).on_chip_weights(plain)
    if held is not None:
        return {"on_chip": held, "external": 0}
    used = block_ram(sized_for(load_model("shakespeare"), plain), board.fpga)
    free = board.capacity["block_ram"] - sum(n for name, n in used.items() if name != "weights")
    beside = max((chip.bits for chip in board.memory), default=0)
    return {
        "on_chip": max(0, int(free * board.fpga.block_bits / TRIT)),
        "external": int(beside / TRIT),
    }


def _millions(count: int | None) -> str:
    if count is None:
        return "any"
    return f"{count / 1e6:.1f} M" if count else "none"


def _first(board: Board, *cells: str) -> int | str:
    return next((board.capacity[cell] for cell in cells if cell in board.capacity), "")


def _size(bits: int) -> str:
    return f"{bits >> 23} MiB" if bits >= 1 << 23 else f"{bits >> 13} KiB"


def _row(board: Board) -> dict[str, object]:
    room = _room(board)
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
        "weights on chip": _millions(room["on_chip"]),
        "in memory": _millions(room["external"]),
        "model": board.model,
        "programmer": board.programmer.partition(" ")[0],
        "status": board.status,
    }


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Boards, capacity, memory, model sizes that fit, programmer, status.

    Weights are ternary ones at 1.6 bit: on the chip in the block RAM that the board's chip for the
    demo model leaves, in memory all that it holds. The model is the shipped one to begin with.

    Status: "builds" means that bitstreams for it meet timing, "runs" that they were also tried on
    the board, "untried" that none has been built, "verilog" that there is none.

    \b
    setun boards
    setun boards --json
    """
    known = [boards.get(name) for name in boards.names()]
    emit(
        [{**asdict(board), "weights": _room(board)} for board in known],
        as_json,
        lambda: table(rows := [_row(board) for board in known], list(rows[0])),
    )
