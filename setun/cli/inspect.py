"""`setun inspect`: what an image file or a checkpoint holds."""

import zlib
from dataclasses import asdict
from pathlib import Path

import click

from setun.cli.common import emit, json_option, table
from setun.firmware.image import file as image_file
from setun.firmware.image.file import ImageFile
from setun.firmware.models.checkpoint import load_checkpoint
from setun.models import find, is_checkpoint
from setun.models.describe import describe, told


def examine(path: Path, file: ImageFile) -> dict[str, object]:
    """Everything `setun inspect --json` prints."""
    image = file.image
    return {
        "image": path,
        "bytes": path.stat().st_size,
        "format": file.format,
        "name": image.name,
        "generator": file.generator,
        "model_hash": image.model_hash,
        "packing": image.packing,
        "numerics": file.numerics.to_dict(),
        "vocab_size": image.vocab_size,
        "end_tokens": list(image.end_tokens),
        "chat_template": image.chat is not None,
        "weights": image.weights,
        "bits_per_weight": image.bits_per_weight,
        "vectors": [asdict(region) for region in image.memory.vectors],
        "state": [asdict(region) for region in image.memory.state],
        "layers": [asdict(region) for region in image.layers],
        "sections": [
            {"name": s.name, "kind": s.kind, "bytes": len(s.data)}
            | {"crc32": f"{zlib.crc32(s.data):08x}", "meta": s.meta}
            for s in file.sections
        ],
        "program": [str(instruction) for instruction in image.program],
    }


def _shape(meta: dict[str, object]) -> str:
    if "shape" in meta:
        return str(meta["shape"])
    if "rows" not in meta:
        return ""
    scale = f" x {meta['scale']:.4g}" if "scale" in meta else ""
    return f"{meta['rows']}x{meta['columns']}{scale}"


def _text(path: Path, file: ImageFile) -> str:
    result, image = examine(path, file), file.image
    shown = ("name", "generator", "model_hash", "packing", "numerics", "vocab_size", "weights")
    lines = [f"{path}: {result['bytes']} bytes", ""]
    old = "" if file.format == image_file.FORMAT else "; import the model again to renew it"
    lines += [f"{'format':<20} {file.format}{old}"]
    lines += [f"{name:<20} {result[name]}" for name in (*shown, "bits_per_weight")]
    rows = [
        {"section": s.name, "kind": s.kind, "bytes": len(s.data)}
        | {"crc32": f"{zlib.crc32(s.data):08x}", "shape": _shape(s.meta)}
        for s in file.sections
    ]
    regions = [
        {"memory": memory, "name": r.name, "start": r.start, "size": r.size}
        for memory, listed in (("vectors", image.memory.vectors), ("state", image.memory.state))
        for r in listed
    ]
    lines += ["", table(rows, list(rows[0])), "", table(regions, list(regions[0])), ""]
    lines += [f"{k:>4}  {line}" for k, line in enumerate(map(str, image.program))]
    return "\n".join(lines)


def _checkpoint_text(found: dict[str, object]) -> str:
    lines, rows = told(found)
    return "\n".join([*lines, "", table(rows, list(rows[0]))])


@click.command()
@click.argument("model", metavar="M.setun|DIR")
@json_option
def command(model: str, as_json: bool) -> None:
    """Sections, sizes, program listing; family and tensors of a checkpoint.

    \b
    setun inspect M.setun
    setun inspect DIR
    """
    path = find(model)
    if is_checkpoint(path):
        found = describe(path, load_checkpoint(path))
        emit(found, as_json, lambda: _checkpoint_text(found))
        return
    file = image_file.read(path)
    emit(examine(path, file), as_json, lambda: _text(path, file))
