"""Weights of a checkpoint folder: which files hold them, and their tensors."""

import json
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from setun.firmware.errors import SetunError
from setun.firmware.file_kinds import LENGTH, refuse_other_kind

Tensor = NDArray[Any]
"""Numbers, float32, or ternary codes, int8."""
WHOLE = "must be a whole safetensors file"
SAVE = "save the model with safe_serialization=True"

BLOCK = 1 << 16
"""Numbers that are read at a time: they fit a core's own cache."""


def _of_half(raw: NDArray[Any], out: Tensor) -> bool:
    """Float16 [n], as int16, to float32; whether all are finite.

    Sign and digits go to their places, then the exponent gets its bias: NumPy's own conversion
    takes four times as long.
    """
    bits = out.view(np.int32)
    bits[:] = raw
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, ~0x70001FFF, out=bits)
    np.multiply(out, np.float32(2.0**112), out=out)
    finite = bool((raw & 0x7C00 != 0x7C00).all())
    if not finite:
        out[:] = raw.view(np.float16)
    return finite


def _of_bfloat(raw: NDArray[Any], out: Tensor) -> bool:
    """Bfloat16 [n], as uint16, to float32; whether all are finite."""
    bits = out.view(np.uint32)
    bits[:] = raw
    np.left_shift(bits, 16, out=bits)
    return bool(np.isfinite(out).all())


def _of_float(raw: NDArray[Any], out: Tensor) -> bool:
    """Float32 [n]; whether all are finite."""
    out[:] = raw
    return bool(np.isfinite(out).all())


_WIDEN: dict[str, tuple[np.dtype[Any], Callable[[NDArray[Any], Tensor], bool]]] = {
    "F32": (np.dtype("<f4"), _of_float),
    "F16": (np.dtype("<i2"), _of_half),
    "BF16": (np.dtype("<u2"), _of_bfloat),
}
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors")
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


class WeightFile:
    """A safetensors file, validated by the safetensors library, read one tensor at a time.

    The library's NumPy front end knows no bfloat16, so the bytes are read here. The file stays
    open: another one may take its place.

    Members
    -------
    shapes
        Of each tensor, by its name in the file.
    same
        Tensors that were left out of the file because they are others of it, and which.
    format
        What such files are called.

    Raises
    ------
    SetunError
        It is no safetensors file, or not all of one.
    """

    format = "safetensors"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.is_file():
                raise SetunError(str(path), "must be a safetensors file", "no such file")
            self._file = file = path.open("rb", buffering=0)
            weakref.finalize(self, file.close)
            self._reading = Lock()  # a file has one place
            refuse_other_kind(str(path), WHOLE, file.read(LENGTH))
            with safe_open(path, framework="np") as checked:
                names = list(checked.keys())
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        except (SafetensorError, ValueError, RecursionError) as error:
            raise SetunError(str(path), WHOLE, error, "download it again") from error
        self._start = 8 + length
        self._entries = {name: header[name] for name in names}
        self.shapes = {name: tuple(entry["shape"]) for name, entry in self._entries.items()}
        metadata: Mapping[str, str] = header.get("__metadata__", {})
        self.same = {name: other for name, other in metadata.items() if other in self.shapes}

    def type_of(self, name: str) -> str:
        """The type that a tensor is stored as: F32, BF16, U8."""
        return str(self._entries[name]["dtype"])

    def shape_of(self, name: str, codes: bool) -> tuple[int, ...]:
        """A tensor's shape, as it is or for what is packed into it."""
        rows, *others = self.shapes[name] or (0,)
        return (4 * rows, *others) if codes else self.shapes[name]

    def reader(self, name: str, codes: bool = False) -> Callable[[], Tensor]:
        """What reads a tensor, read-only: float32, refused unless finite, or int8 ternary codes.

        A file has codes as Hugging Face's BitNet packs them: uint8 [m / 4, n], whose bits 2k and
        2k+1 are row ``k * m / 4`` and following of [m, n], plus 1.

        Raises
        ------
        SetunError
            It has numbers of a type that is not read, or is not packed so.
        """
        if codes:
            return self._codes_reader(name)
        dtype = self._entries[name]["dtype"]
        if dtype not in _WIDEN:
            raise SetunError(
                f"tensor {name}",
                "must be float32, float16 or bfloat16",
                dtype,
                "save the weights before they were quantised, model.to(torch.bfloat16)",
            )
        return lambda: self._read(name)

    def _codes_reader(self, name: str) -> Callable[[], Tensor]:
        entry = self._entries[name]
        if entry["dtype"] != "U8" or len(entry["shape"]) != 2:
            fix = "config.json says that the weights are packed"
            raise SetunError(f"tensor {name}", "must be packed codes, uint8", entry["dtype"], fix)
        return lambda: self._read_codes(name)

    def _read_codes(self, name: str) -> Tensor:
        entry = self._entries[name]
        rows, columns = entry["shape"]
        packed = np.empty((rows, columns), np.uint8)
        self._fill(packed, entry["data_offsets"][0])
        codes = np.empty((4, rows, columns), np.int8)
        for k, quarter in enumerate(codes):
            np.subtract(packed >> 2 * k & 3, 1, out=quarter, dtype=np.int8, casting="unsafe")
        if codes.size and codes.max() > 1:
            raise SetunError(f"tensor {name}", "packed codes are 0, 1 and 2", "3", "it is corrupt")
        codes.flags.writeable = False
        return codes.reshape(4 * rows, columns)

    def _fill(self, raw: NDArray[Any], begin: int) -> None:
        """Read the bytes of an array, from `begin` in the file's data on."""
        if not raw.size:
            return
        with self._reading:
            self._file.seek(self._start + begin)
            have = self._file.readinto(raw.data.cast("B"))
        if have != raw.nbytes:
            raise SetunError(str(self.path), "must not change while it is read")

    def _read(self, name: str) -> Tensor:
        entry = self._entries[name]
        stored, widen = _WIDEN[entry["dtype"]]
        begin, end = entry["data_offsets"]
        tensor: Tensor = np.empty((end - begin) // stored.itemsize, np.float32)
        buffer = np.empty(min(tensor.size, BLOCK), stored)
        for k in range(0, tensor.size, BLOCK):
            part = tensor[k : k + BLOCK]
            raw = buffer[: part.size]
            self._fill(raw, begin + k * stored.itemsize)
            if not widen(raw, part):
                wrong = k + int(np.flatnonzero(~np.isfinite(part))[0])
                place = [int(at) for at in np.unravel_index(wrong, entry["shape"])]
                value = f"{tensor[wrong]} at {place}"
                raise SetunError(f"tensor {name}", "must be finite", value)
        tensor.flags.writeable = False
        return tensor.reshape(entry["shape"])


class LazyTensors(Mapping[str, Tensor]):
    """Tensors that are read whenever they are asked for, and held by those who ask.

    Parameters
    ----------
    readers
        What makes each, by name; names with the same one are the same tensor.
    """

    def __init__(self, readers: Mapping[str, Callable[[], Tensor]]) -> None:
        self._readers = readers
        self._held: WeakValueDictionary[int, Tensor] = WeakValueDictionary()

    def __getitem__(self, name: str) -> Tensor:
        reader = self._readers[name]
        tensor = self._held.get(id(reader))
        if tensor is None:
            tensor = self._held[id(reader)] = reader()
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def unwrapped(name: str, known: Mapping[str, object]) -> str:
    """A tensor's name without what torch.compile, FSDP and data parallelism put into it.

    Unchanged where it is one of the `known`, or none without either.
    """
    if name in known:
        return name
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while parts[:1] == ["module"]:
        del parts[0]
    plain = ".".join(parts)
    return plain if plain in known else name


class Weights(Protocol):
    """Tensors of a file, of any format: see `WeightFile`."""

    path: Path
    same: dict[str, str]
    format: str

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """As they are stored."""
        ...

    def type_of(self, name: str) -> str:
        """As the format calls it."""
        ...

    def shape_of(self, name: str, codes: bool) -> tuple[int, ...]:
        """As `reader` reads it."""
        ...

    def reader(self, name: str, codes: bool = False) -> Callable[[], Tensor]:
        """What reads a tensor."""
        ...


def find_weights(folder: Path, read_json: Callable[[Path], dict[str, Any]]) -> list[WeightFile]:
    """Files that hold a folder's weights.

    `model.safetensors`, else those of an index, else numbered shards, all of them, else all
    `*.safetensors`, which must share no tensor.

    Raises
    ------
    SetunError
        There are none, some are missing, it cannot be told which, or an adapter is there.
    """
    refuse_adapters(folder)
    single = folder / "model.safetensors"
    if single.exists():
        return [WeightFile(single)]
    index = folder / "model.safetensors.index.json"
    indices = [index] if index.exists() else sorted(folder.glob("*.safetensors.index.json"))
    if len(indices) == 1:
        return _listed(indices[0], read_json(indices[0]))
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    files = [WeightFile(folder / name) for name in _shards(folder, names) or names]
    if not files:
        raise _without_weights(folder)
    held: dict[str, str] = {}
    for file in files:
        for name in file.shapes:
            if (other := held.setdefault(name, file.path.name)) != file.path.name:
                raise SetunError(
                    str(folder),
                    "needs model.safetensors, an index or files that share no tensor",
                    f"{other} and {file.path.name}, both with {name}",
                    "move away those that are not the model's",
                )
    return files


def refuse_adapters(folder: Path) -> None:
    """Refuse a folder with LoRA's files or another adapter's, which change the weights.

    Raises
    ------
    SetunError
        There is one: what to do with it.
    """
    for name in ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"):
        if not (folder / name).exists():
            continue
        weights = sorted(
            path.name for path in folder.glob("*.safetensors") if "adapter" not in path.name
        )
        beside = f", or move it away to read {weights[0]} without it" if weights else ""
        raise SetunError(
            str(folder),
            "an adapter must be merged into its model",
            name,
            f"peft: model.merge_and_unload().save_pretrained(DIR){beside}",
        )


def _shards(folder: Path, names: list[str]) -> list[str]:
    """Numbered shards among the names, [] for none; refused where one is missing."""
    found = [match for name in names if (match := _SHARD.fullmatch(name))]
    if not found:
        return []
    stem, total = found[0][1], found[0][3]
    wanted = [f"{stem}-{k + 1:05}-of-{total}.safetensors" for k in range(min(int(total), 99999))]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise SetunError(
            str(folder / missing[0]),
            f"must be there, as one of {int(total)} shards",
            f"{len(missing)} missing",
            "download it again",
        )
    return wanted


def _without_weights(folder: Path) -> SetunError:
    rule = "needs *.safetensors"
    for pattern, kind, fix in (
        ("*.gguf", "GGUF alone", "give the file itself"),
        ("*.bin", "pickles alone", SAVE),
        ("*.pt", "pickles alone", SAVE),
        ("*.pth", "pickles alone", SAVE),
        ("*.ckpt", "pickles alone", SAVE),
        ("*.h5", "TensorFlow's weights alone", SAVE),
        ("*.msgpack", "Flax's weights alone", SAVE),
    ):
        for path in sorted(folder.glob(pattern)):
            return SetunError(str(folder), rule, f"{kind}: {path.name}", fix)
    return SetunError(str(folder), rule, "none", SAVE)


def _listed(index: Path, content: Mapping[str, Any]) -> list[WeightFile]:
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise SetunError(str(index), "must have a weight_map object", "none")
    shards: dict[str, set[str]] = {}
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or not _is_plain_name(name):
            raise SetunError(
                f"{index} weight_map",
                "shards are plain *.safetensors names beside the index",
                json.dumps(name)[:60],
            )
        shards.setdefault(name, set()).add(tensor)
    files = []
    for name, listed in shards.items():
        file = WeightFile(index.parent / name)
        if absent := listed - set(file.shapes):
            raise SetunError(f"tensor {min(absent)}", f"the index promises it in {name}")
        files.append(file)
    return files


def _is_plain_name(name: str) -> bool:
    forbidden = any(c in name for c in "/\\:") or ".." in name or not name.isprintable()
    return name.endswith(".safetensors") and not forbidden and not name.startswith(".")
