"""Image files of format 1, from when an image had the shape of one architecture.

Its header had `model`, HGRNBit's configuration, where there is a map of the memory now; its gates
were [layers, width]; its hash was of the printed listing, so that `stat_shift`, which the listing
does not show, was not in it. Such a file is verified by that hash, then it is an image like any
other, with a hash as today's.
"""

import hashlib
from dataclasses import replace
from itertools import groupby

import numpy as np

from setun.firmware.errors import SetunError
from setun.firmware.image.image import Floats, Image, MemoryMap, Region, aligned
from setun.firmware.image.model_hash import with_hash
from setun.firmware.program import kernels
from setun.firmware.program.isa import Instruction, Op, Table

FORMAT = 1
HEADER = {"format", "generator", "model", "model_hash", "numerics", "packing"}
TABLES = {Table.CONSTANTS, Table.EMBEDDING, Table.GATES}
_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size")


def converted(image: Image, model: object, source: str) -> Image:
    """The image of a file that was read as it stands, with its header's `model`.

    Raises
    ------
    SetunError
        `model` has no sizes, or others than the tables; the hash is not of this content.
    """
    if not isinstance(model, dict) or any(type(model.get(n)) is not int for n in _SIZES):
        raise SetunError(f"{source} model", f"has {', '.join(_SIZES)}")
    vocabulary, hidden, layers, intermediate = (int(model[name]) for name in _SIZES)
    tables = dict(image.tables)
    if set(tables) != TABLES:
        raise SetunError(source, f"must have sections {', '.join(sorted(TABLES))}")
    embedding, gates = tables[Table.EMBEDDING], tables[Table.GATES]
    if embedding.shape != (vocabulary, hidden) or gates.ndim != 2 or len(gates) != layers:
        rule = f"must be that of a model [{vocabulary}, {hidden}] of {layers} layers"
        raise SetunError(f"{source} embedding and gates", rule)
    _check_hash(image, source)
    width = gates.shape[1]
    padded = np.zeros((layers, aligned(width)), np.float32)
    padded[:, :width] = gates
    x = Region("x", 0, hidden)
    t = Region("t", aligned(hidden), max(width, intermediate))
    state = [
        Region(f"model.layers.{layer}.attn", layer * aligned(width), width)
        for layer in range(layers)
    ]
    return with_hash(
        replace(
            image,
            layers=_layers(image.program),
            tables={**tables, Table.GATES: padded.ravel()},
            memory=MemoryMap((x, t), tuple(state)),
        )
    )


def _layers(program: tuple[Instruction, ...]) -> tuple[Region, ...]:
    """The layers, by what the instructions note."""
    found, at = [], 0
    for name, part in groupby(program, lambda i: ".".join(i.note.split(".")[:3])):
        size = len(list(part))
        if name.startswith("model.layers."):
            found.append(Region(name, at, size))
        at += size
    return tuple(found)


def _check_hash(image: Image, source: str) -> None:
    digest = hashlib.sha256()
    for matrix in image.matrices:
        digest.update(matrix.codes().tobytes() + np.float64(matrix.scale).tobytes())
    for name in sorted(TABLES):
        values: Floats = np.ascontiguousarray(image.tables[name])
        digest.update(values.tobytes())
    for instruction in image.program[1:]:
        digest.update(_listed(instruction).encode())
    found = digest.digest()[:12].hex()
    if found != image.model_hash:
        raise SetunError(source, f"model hash must be {found}", image.model_hash)


def _listed(i: Instruction) -> str:
    """The line of format 1's listing."""
    return f"{i.op.name:<9}{_operands(i):<78}{i.note}".rstrip()


def _operands(i: Instruction) -> str:
    if i.op is Op.EMBED:
        return f"v[{i.dst}:+{i.n}] = e[{i.constants}+{i.immediate}*token]"
    if i.op is Op.SCALARS:
        return f"eps_outer={i.constants:g} eps_inner={i.immediate:g}"
    if i.op is Op.QUANTISE:
        marks = f"{' sync' if i.sync else ''}{' stream' if i.stream else ''}"
        ms = i.mean_square.name.lower()
        return f"slot <- v[{i.src}:+{i.n}] gains={i.constants} mean_square={ms}{marks}"
    if i.op is Op.MATVEC:
        a, v = f"v[{i.src}]", f"v[{i.dst}:+{i.n}]"
        to = {
            kernels.COPY: f"{v} = y",
            kernels.SILU: f"{v} = silu(y)",
            kernels.MLGRU: f"{a} = h[{i.dst}:+{i.n}] = mlgru(y, {a})",
            kernels.GLU: f"{v} = y*silu({a})",
            kernels.ADD: f"{v} = {a} + y",
            kernels.SAMPLE: f"token = sample(y[:{i.n}])",
        }[i.kernel]
        marks = f"{' keep' if i.keep else ''}{' feeds' if i.feeds else ''}"
        return f"{to} scale={i.immediate:.4g}{marks}"
    return ""
