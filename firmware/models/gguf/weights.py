"""Tensors of a GGUF file under a model's own names, read when they are asked for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.models.gguf.container import GgufFile
from setun.firmware.models.weight_files import Tensor
from setun.firmware.numerics.ternary import Codes, ternarise

Floats = NDArray[np.float32]
Reader = Callable[[], Tensor]


@dataclass(frozen=True)
class Named:
    """A tensor as its model has it."""

    shape: tuple[int, ...]
    reader: Reader
    type: str
    """As GGUF calls it; "" for scales, which lie in their matrix."""


class GgufWeights:
    """What `setun.firmware.models.weight_files.WeightFile` is of a safetensors file.

    Parameters
    ----------
    file
        Where the tensors are.
    named
        Every tensor by the model's name: float32, or codes with scales that multiply.
    """

    format = "GGUF"

    def __init__(self, file: GgufFile, named: dict[str, Named]) -> None:
        self.path = file.path
        self.same: dict[str, str] = {}
        self._named = named

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor, by its name."""
        return {name: tensor.shape for name, tensor in self._named.items()}

    def type_of(self, name: str) -> str:
        """The type that a tensor is stored as: F32, TQ2_0."""
        return self._named[name].type

    def shape_of(self, name: str, codes: bool) -> tuple[int, ...]:
        """A tensor's shape; that of codes is no other."""
        return self._named[name].shape

    def reader(self, name: str, codes: bool = False) -> Reader:
        """What reads a tensor, read-only."""
        made = self._named[name].reader

        def read() -> Tensor:
            tensor = made()
            tensor.flags.writeable = False
            return tensor

        return read


def floats(file: GgufFile, name: str) -> Named:
    """A tensor of numbers, refused unless they are finite; a ternary one's are made."""
    entry = file.tensors[name]

    def read() -> Floats:
        return _finite(name, entry.type.floats(file.raw(name), entry.shape))

    return Named(entry.shape, read, entry.type.name)


def ternary(
    file: GgufFile, name: str, group: int, turned: Callable[[Tensor], Tensor] = lambda rows: rows
) -> tuple[Named, Named]:
    """A matrix as codes and the scales that they are multiplied by.

    Numbers are made ternary; a factor `NAME.scale`, without NAME's `.weight`, goes into the scales.

    Parameters
    ----------
    group
        Inputs that share a scale, for scales [rows, columns / group]; 0 for one, [1].
    turned
        Puts the rows of codes and of scales in the model's order.
    """
    entry = file.tensors[name]
    rows, columns = entry.shape
    shape = (rows, columns // group) if group else (1,)

    def read_codes() -> Codes:
        if entry.type.unpack is None:
            return turned(ternarise(floats(file, name).reader())[0])
        return turned(entry.type.codes(file.raw(name), entry.shape))

    def read_scales() -> Floats:
        if entry.type.unpack is None:
            found: Floats = np.array([[ternarise(floats(file, name).reader())[1]]])
        else:
            found = _finite(name, entry.type.scales(file.raw(name), entry.shape))
        factor = name.removesuffix(".weight") + ".scale"
        if factor in file.tensors:
            found = found * floats(file, factor).reader().reshape(1, 1)
        if not entry.type.grouped or not group:
            found = _one(name, found)
        else:
            found = _grouped(name, found, columns // group)
        return turned(np.array(np.broadcast_to(found, shape))) if group else found.reshape(1)

    return Named(entry.shape, read_codes, entry.type.name), Named(shape, read_scales, "")


def is_ternary(file: GgufFile, name: str) -> bool:
    """Whether the file has the tensor as codes."""
    return name in file.tensors and file.tensors[name].type.unpack is not None


def neighbours_to_halves(heads: int) -> Callable[[Tensor], Tensor]:
    """Puts rows of queries or keys for RoPE by halves that are for RoPE of neighbouring pairs.

    llama.cpp's converter writes row ``h * d + i + d/2 * s`` of a Llama at ``h * d + 2 * i + s``.
    """

    def turned(rows: Tensor) -> Tensor:
        apart = rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2)
        return np.ascontiguousarray(apart).reshape(rows.shape)

    return turned


def _finite(name: str, values: Floats) -> Floats:
    if not np.isfinite(values).all():
        wrong = values[~np.isfinite(values)][0]
        raise SetunError(f"tensor {name}", "must be finite", wrong)
    return values


def _one(name: str, scales: Floats) -> Floats:
    """The scale of all blocks [1, 1]; those without a code that is not 0 may have 0."""
    kept = np.unique(scales[scales != 0])
    if kept.size > 1:
        found = f"{kept[0]:.6g} and {kept[-1]:.6g}"
        rule = "blocks must have the matrix's scale"
        raise SetunError(f"tensor {name}", rule, found, "it was quantised from no ternary model")
    return np.array([[kept[0] if kept.size else 0]], np.float32)


def _grouped(name: str, scales: Floats, count: int) -> Floats:
    """Scales [rows, count] of blocks that may be parts of groups."""
    parts = scales.reshape(len(scales), count, -1)
    found: Floats = np.abs(parts).max(-1) * np.sign(parts.sum(-1))
    if not ((parts == 0) | (parts == found[..., None])).all():
        raise SetunError(f"tensor {name}", "groups of 128 inputs must have one scale", "two")
    return found
