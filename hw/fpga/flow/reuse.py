"""Another model into a finished bitstream: no synthesis, no place and route."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import MemoryLayout
from setun.firmware.memory_kinds import KINDS, Loading
from setun.firmware.outputs import discard_output, make_folder, write_output
from setun.hw.fpga.flow.bitstream import write_report
from setun.hw.fpga.flow.cache import Cache
from setun.hw.fpga.flow.finished import Finished, load
from setun.hw.fpga.flow.process import Children
from setun.hw.fpga.flow.stages import Flow, Progress


def _memory(folder: Path) -> str | None:
    """Where report.json says that the model lies; None without one that says so."""
    try:
        return str(json.loads((folder / "report.json").read_text("utf-8"))["config"]["memory"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def finished_build(folder: Path, name: str) -> Finished:
    """What `build_bitstream` left in a folder for other models.

    Raises
    ------
    SetunError
        There is nothing: no build, or one whose bitstream does not hold the model.
    """
    path = folder / f"{name}.finished"
    if path.is_file():
        return load(path)
    memory = _memory(folder)
    if memory in KINDS and KINDS[memory].loading is Loading.LINK:
        raise SetunError(
            str(folder),
            "must be a build with the model in its bitstream",
            f"memory {memory}",
            "put the model on the running chip: setun load",
        )
    fix = "build it with setun build" if memory is None else "put it on the chip: setun load"
    raise SetunError(str(path), "must be there for another model", "no such file", fix)


def put_model(
    finished: Finished,
    layout: MemoryLayout,
    out: Path,
    *,
    extra: Mapping[str, Any],
    progress: Progress = lambda stage: None,
    cache: Cache | None = None,
) -> dict[str, Any]:
    """Write bitstream, NAME.finished and report.json with a model that `finished` takes.

    The bitstream is that of `build_bitstream` with this model, byte for byte.

    Parameters
    ----------
    layout
        The model, for the chip's configuration.
    extra
        Entries of the report that replace those of the first build.

    Raises
    ------
    SetunError
        The packer is missing or fails.
    """
    make_folder(out)
    kind = finished.family
    target = out / f"{finished.name}.{kind.flow().suffix}"
    kept = out / f"{finished.name}.finished"
    for old in (target, kept, out / "report.json", out / "timing.json"):
        discard_output(old)
    progress("put the model into block RAM")
    text = finished.with_model(layout)
    with Children() as children:
        flow = Flow(children, cache or Cache(), out, progress)
        packed = flow.pack(finished.name, kind, text).read_bytes()
    result = {
        **finished.report,
        **extra,
        "tools": {tool: str(flow.tools[tool]) for tool in sorted(flow.tools)},
        "bitstream_sha256": hashlib.sha256(packed).hexdigest(),
    }
    write_output(target, packed)
    write_output(kept, finished.dump())
    write_report(out, result)
    return result
