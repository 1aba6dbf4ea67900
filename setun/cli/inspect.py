"""`setun inspect`: what an image file holds."""

import zlib
from dataclasses import asdict
from pathlib import Path

import click

from setun.cli.common import emit, json_option, table
from setun.firmware.image import file as image_file
from setun.firmware.image.file import ImageFile


def examine(path: Path, file: ImageFile) -> dict[str, object]:
    """Everything `setun inspect --json` prints."""
    image = file.image
    ternary = sum(len(s.data) for s in file.sections if s.kind == "ternary")
    return {
        "image": path,
        "bytes": path.stat().st_size,
        "format": image_file.FORMAT,
        "generator": file.generator,
        "model_hash": image.model_hash,
        "packing": image.packing,
        "numerics": file.numerics.to_dict(),
        "config": asdict(image.config),
        "weights": image.weights,
        "bits_per_weight": 8 * ternary / image.weights,
        "vector_elements": image.vector_elements,
        "state_elements": image.state_elements,
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
    return f"{meta['rows']}x{meta['columns']} x {meta['scale']:.4g}" if "rows" in meta else ""


def _text(path: Path, file: ImageFile) -> str:
    result = examine(path, file)
    shown = ("generator", "model_hash", "packing", "numerics", "weights", "bits_per_weight")
    lines = [f"{path}: {result['bytes']} bytes", ""]
    lines += [f"{name:<20} {result[name]}" for name in shown]
    lines += [f"{name:<20} {value}" for name, value in asdict(file.image.config).items()]
    rows = [
        {"section": s.name, "kind": s.kind, "bytes": len(s.data)}
        | {"crc32": f"{zlib.crc32(s.data):08x}", "shape": _shape(s.meta)}
        for s in file.sections
    ]
    lines += ["", table(rows, list(rows[0])), ""]
    lines += [f"{k:>4}  {line}" for k, line in enumerate(map(str, file.image.program))]
    return "\n".join(lines)


@click.command()
@click.argument("image", metavar="M.setun", type=Path)
@json_option
def command(image: Path, as_json: bool) -> None:
    """Sections, sizes, program listing.

    \b
    setun inspect M.setun
    """
    file = image_file.read(image)
    emit(examine(image, file), as_json, lambda: _text(image, file))
