"""`setun.finished`: a finished chip without its model, and where another one goes.

An image container (`setun.firmware.image.container`). Its header has `finished` (the
format's version), `name`, `family`, `config`, `work`, `pieces` and `report`; its section `text`
what nextpnr wrote, compressed, with marks where the model goes.
"""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image import container
from setun.firmware.image.memory_layout import MemoryLayout
from setun.hw.fpga.families import ECP5, family
from setun.hw.fpga.family import Family, Patching
from setun.hw.fpga.flow.bit_map import STRIDES, Piece, fill
from setun.hw.fpga.flow.marks import contents

VERSION = 2
LIMIT = 1 << 28
"""Most characters that nextpnr may have written."""
REPORTED = {"board": str, "clock_mhz": float, "fmax_mhz": float, "timing_met": bool, "seed": int}


def patching(kind: Family) -> Patching:
    """How models get into layouts of a family; SetunError where they do not."""
    if kind.patching is None:
        raise SetunError("FPGA", "must be of a family whose layouts take models", kind.name)
    return kind.patching


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A chip that is placed and routed, and that a model has yet to be put into.

    Parameters
    ----------
    name
        Of the top module.
    family
        Of the FPGA.
    config
        What the chip is.
    work
        Of the model that it was measured with, `setun.firmware.image.model_hash.work_hash`.
    pieces
        Where its memories lie, by number of the block.
    text
        What nextpnr wrote.
    report
        Of the build; what depends on the model is that of the first one.
    """

    name: str
    family: Family
    config: ChipConfig
    work: str
    pieces: dict[int, Piece]
    text: str
    report: dict[str, Any]

    def with_model(self, layout: MemoryLayout) -> str:
        """The text with this model; the packer makes a bitstream of it."""
        blocks = fill(self.pieces, contents(self.config, layout))
        return patching(self.family).with_blocks(self.text, blocks)

    def dump(self) -> bytes:
        """The file."""
        raw = self.text.encode()
        header = {
            "finished": VERSION,
            "name": self.name,
            "family": self.family.name,
            "config": self.config.to_dict(),
            "work": self.work,
            "report": self.report,
            "pieces": [
                [number, piece.memory, piece.first, piece.stride, [list(c) for c in piece.columns]]
                for number, piece in sorted(self.pieces.items())
            ],
        }
        meta = {"length": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        section = container.Section("text", "nextpnr", zlib.compress(raw, 6), meta)
        return container.dump(header, [section])


def _piece(entry: Any) -> tuple[int, Piece]:
    number, memory, first, stride, columns = entry
    pairs = tuple((column, bit) for column, bit in columns)
    whole = [number, first, stride, *(value for pair in pairs for value in pair)]
    if not isinstance(memory, str) or any(type(v) is not int or v < 0 for v in whole):
        raise ValueError(f"piece of {memory}")
    if stride not in STRIDES or not pairs:
        raise ValueError(f"stride {stride} of {memory}")
    return number, Piece(memory=memory, first=first, stride=stride, columns=pairs)


def _text(section: container.Section) -> str:
    length, digest = section.meta["length"], section.meta["sha256"]
    if type(length) is not int or not 0 <= length <= LIMIT:
        raise ValueError(f"{length} characters")
    unpacked = zlib.decompressobj()
    raw = unpacked.decompress(section.data, length + 1)
    whole = unpacked.eof and not unpacked.unused_data
    if not whole or len(raw) != length or hashlib.sha256(raw).hexdigest() != digest:
        raise ValueError("text that does not match its hash")
    return raw.decode("ascii")


def parse(data: bytes, source: str) -> Finished:
    """Inverse of `Finished.dump`; `source` names the data in errors.

    Raises
    ------
    SetunError
        The data is anything else.
    """
    header, sections = container.parse(data, source)
    fix = "build it again"
    try:
        version = header["finished"]
        if type(version) is not int or version != VERSION:  # JSON's true would equal 1
            raise SetunError(source, f"version must be {VERSION}", version, fix)
        name, work, report = header["name"], header["work"], header["report"]
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"name {name}")
        if not isinstance(work, str) or not isinstance(report, dict):
            raise ValueError("no work or report")
        for key, kind in REPORTED.items():
            if not isinstance(report[key], kind):
                raise ValueError(f"report {key} {report[key]}")
        pieces = dict(map(_piece, header["pieces"]))
        text = _text(sections["text"])
        config = ChipConfig.from_dict(header["config"])
        # Layouts had no family while there was one.
        fpga = family(header.get("family", ECP5.name))
        there = patching(fpga).placed_blocks(text)
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise SetunError(source, "must be what setun build wrote", error, fix) from error
    if not pieces or len(pieces) != len(header["pieces"]) or not pieces.keys() <= there.keys():
        raise SetunError(source, "must have the block RAM of its pieces", len(pieces), fix)
    return Finished(
        name=name,
        family=fpga,
        config=config,
        work=work,
        pieces=pieces,
        text=text,
        report=report,
    )


def load(path: Path) -> Finished:
    """Read such a file; SetunError where it is missing, of another kind or corrupt."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SetunError(str(path), "must be readable", error.strerror or error) from error
    return parse(data, str(path))
