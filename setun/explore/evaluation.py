"""What a worker does: a pure function of its work, the model and, for a loss, the text.

It keeps nothing but what the tools' cache keeps (`setun.hw.fpga.flow.cache`), and runs on any
machine with the same Setun.
"""

import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from setun import boards
from setun.bench.measure import measure
from setun.boards.building import parts
from setun.estimate.chip import estimate
from setun.explore.work import Work, made_with
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image import file as image_file
from setun.firmware.image.image import Image
from setun.firmware.numerics.options import Numerics
from setun.hw.emit.resources import check_block_ram
from setun.hw.fpga.flow.bitstream import build_bitstream
from setun.hw.fpga.flow.process import Ended, TookTooLong
from setun.sim.evaluate import Ids, score_float, score_golden
from setun.sim.folded import FoldedModel

MEASURED_TOKENS = 4  # cycles per token do not depend on the data
CHIPS = ("estimate", "place")  # kinds of work that a chip may be refused in
Rows = tuple[Ids, NDArray[np.bool_]]


class Done(NamedTuple):
    """A result and how long it took.

    `final` is False where the machine may be to blame: another try may end otherwise.
    """

    result: dict[str, Any]
    seconds: float
    final: bool = True


def open_image(data: bytes) -> Image:
    """The model from the bytes of an image file."""
    return image_file.parse(data).image


def _estimate(inputs: dict[str, Any], image: Image) -> dict[str, Any]:
    config = ChipConfig.from_dict(inputs["config"])
    return estimate(image, config, boards.get(inputs["board"])).to_dict()


def _place(inputs: dict[str, Any], image: Image, limit_s: float) -> dict[str, Any]:
    board, config = boards.get(inputs["board"]), ChipConfig.from_dict(inputs["config"])
    check_block_ram(config, board.fpga, board.capacity, board.name)
    made = parts(image, config, board)
    with tempfile.TemporaryDirectory(prefix="setun-explore-") as folder:
        report = build_bitstream(
            made.chip,
            board,
            name="setun",
            out=Path(folder),
            clock_mhz=inputs["clock_mhz"],
            pump=config.fast,
            seed=inputs["seed"],
            allow_timing_fail=True,
            model=made.model,
            limit_s=limit_s,
        )
    return {key: report[key] for key in ("fmax_mhz", "timing_met", "utilisation")}


def _cycles(inputs: dict[str, Any], image: Image) -> dict[str, Any]:
    config = ChipConfig.from_dict(inputs["config"])
    found = measure("explore", "model", image, config, MEASURED_TOKENS, prefill=False)[-1]
    return {"cycles_per_token": found.cycles_per_token}


def _loss(inputs: dict[str, Any], image: Image, text: Rows) -> dict[str, Any]:
    rows, counted = text
    if inputs["numerics"] is None:
        vocabulary = image.vocab_size
        return {"loss": score_float(FoldedModel(image), rows, counted, vocabulary).loss}
    numerics = Numerics.from_dict(inputs["numerics"])
    return {"loss": score_golden(image, numerics, rows, counted).loss}


def _checked(work: Work) -> None:
    """Refuse work for another Setun or other tools than this machine's."""
    asked = work.inputs["made_with"]
    here = made_with(work.kind, work.inputs.get("fpga", ""))
    if here != asked:
        differs = [name for name in here["tools"] if here["tools"][name] != asked["tools"][name]]
        raise SetunError(
            f"worker on {socket.gethostname()}",
            "must have the same Setun and tools",
            ", ".join(f"{name} {here['tools'][name]}" for name in differs) or "another Setun",
            "install the same on all machines",
        )


def evaluate(works: Sequence[Work], image: Image, text: Rows | None, limit_s: float) -> list[Done]:
    """The result of each piece of work; that of a chip which the tools refuse says so.

    Parameters
    ----------
    text
        Ids and which of them count, as `setun.sim.evaluate.windows` gives them.
    limit_s
        Seconds that a tool may take.

    Raises
    ------
    SetunError
        This machine has another Setun, or lacks a tool; a text or a simulation is refused.
    """
    kinds: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "estimate": lambda inputs: _estimate(inputs, image),
        "place": lambda inputs: _place(inputs, image, limit_s),
        "cycles": lambda inputs: _cycles(inputs, image),
    }
    if text is not None:
        kinds["loss"] = lambda inputs: _loss(inputs, image, text)
    found = []
    for work in works:
        _checked(work)
        start = time.monotonic()
        final = True
        try:
            result = kinds[work.kind](work.inputs)
        except SetunError as error:
            if work.kind not in CHIPS:
                raise
            result, final = _refusal(error, limit_s)
        found.append(Done(result, round(time.monotonic() - start, 1), final))
    return found


def _refusal(error: SetunError, limit_s: float) -> tuple[dict[str, Any], bool]:
    """What is kept of a chip that cannot be built, and whether it always will be so."""
    cause = error.__cause__ or error
    said = f"{error.thing}: {error.rule}" + (f"; found {error.value}" if error.value else "")
    if isinstance(cause, TookTooLong):
        return {"failed": said, "limit_s": limit_s}, True
    if isinstance(cause, Ended) and cause.status < 0:
        return {"failed": said}, False
    return {"refused": said}, True
