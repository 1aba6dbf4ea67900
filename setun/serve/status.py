"""What a server says of itself: model, boards, and what they are doing now."""

from typing import Any

from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import bound_cycles
from setun.serve.board import Board
from setun.serve.service import Service

# Parts of the chip, and the counter of the cycles in which each works.
UNITS = {
    "memory": "array_busy",  # gives a word of weights whenever the array takes one
    "array": "array_busy",
    "quantiser": "quantiser_busy",
    "sink": "sink_busy",
}


def status(service: Service) -> dict[str, Any]:
    """JSON-ready: all that the page shows beside the chat."""
    image, pool = service.image, service.pool
    return {
        "model": {
            "name": image.name,
            "weights": image.weights,
            "vocabulary": image.vocab_size,
            "layers": len(image.layers),
            "hash": image.model_hash,
            "chat_template": image.chat is not None,
            "text": image.tokenizer_json is not None,
        },
        "backend": service.kind,
        "verify": service.verify,
        "max_tokens": service.limits.tokens,
        "waiting": pool.waiting,
        "boards": [board_status(image, board) for board in service.boards],
    }


def board_status(image: Image, board: Board) -> dict[str, Any]:
    """A board of `status`."""
    engine = board.engine
    config = None if engine is None else engine.config
    found = {
        "name": board.name,
        "up": board.up,
        "error": board.error,
        "contexts": len(board.contexts),
        "working": board.working,
        "tokens_per_second": board.pace.tokens_per_second(),
        "cycles_per_token": board.cycles_per_token,
    }
    if config is None:
        return {**found, "chip": None, "units": {}, "bandwidth_share": None, "counters": {}}
    spent = board.pace.spent()
    cycles = spent.get("cycles", 0)
    units = {unit: spent[name] / cycles if cycles else 0.0 for unit, name in UNITS.items()}
    return {
        **found,
        "chip": {
            "clock_hz": config.clock_hz,
            "macs": config.macs,
            "columns": config.columns,
            "rows": config.rows,
            "lanes": config.lanes,
            "memory": config.memory,
            "packing": config.packing,
            "shares_weights": config.shares_weights,
        },
        "units": units,
        "bandwidth_share": _share(image, config, board, units["array"]),
        "counters": dict(board.counters),
    }


def _share(image: Image, config: ChipConfig, board: Board, busy: float) -> float | None:
    """Of the memory's full rate; None where nothing tells it yet."""
    if board.cycles_per_token is None:
        return None
    if not config.shares_weights:
        return busy or None  # a token reads the weights for itself
    return bound_cycles(image, config) / board.cycles_per_token
