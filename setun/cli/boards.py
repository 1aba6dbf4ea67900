"""`setun boards`: what Setun builds for."""

from dataclasses import asdict

import click

from setun import boards
from setun.boards import Board
from setun.cli.common import emit, json_option, table


def _row(board: Board) -> dict[str, object]:
    return {
        "board": board.name,
        "device": board.device,
        "LUT4": board.capacity.get("TRELLIS_COMB", 0),
        "FF": board.capacity.get("TRELLIS_FF", 0),
        "block RAM": board.capacity.get("DP16KD", 0),
        "multipliers": board.capacity.get("MULT18X18D", 0),
        "clock": f"{board.chip_clock_mhz:g} MHz",
        "memory": ", ".join(f"{m.kind} {m.bits // 8_388_608} MiB" for m in board.memory),
        "status": board.status,
    }


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Boards, capacity, memory, status.

    Status: "builds" means that bitstreams for it meet timing, "runs" that they were also
    tried on the board.
    """
    known = [boards.get(name) for name in boards.names()]
    rows = [_row(board) for board in known]
    emit([asdict(board) for board in known], as_json, lambda: table(rows, list(rows[0])))
