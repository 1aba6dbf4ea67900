"""A packed transformer of any size, as Microsoft's are, with random codes; and what verbs take.

``python -m scale.packed_checkpoint FOLDER``, in `tests/`, makes one of 2B4T's shape (1.18 GB)
unless it is there, runs the verbs that take it, each a process of its own, and prints seconds and
peak memory.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scale.big_checkpoint import BLOCK, Run, run
from setun.firmware.models.architecture import find
from setun.firmware.models.bitnet.config import BitnetConfig

LIKE_2B4T = BitnetConfig(
    vocab_size=128256,
    hidden_size=2560,
    intermediate_size=6912,
    num_hidden_layers=30,
    num_attention_heads=20,
    num_key_value_heads=5,
    head_dim=128,
    max_position_embeddings=4096,
    rms_norm_eps=1e-5,
    rope_theta=500000.0,
    tie_word_embeddings=True,
    packed=True,
)
_BYTES = np.flatnonzero([all(byte >> 2 * k & 3 < 3 for k in range(4)) for byte in range(256)])
"""What a byte of four codes may be."""


def write_packed(folder: Path, config: BitnetConfig) -> int:
    """Write a model of `config`; its bytes."""
    family, entries, end = find("bitnet"), {}, 0
    codes, tied = family.files.codes(config), family.tied(config)
    shapes = {k: s for k, s in family.expected_shapes(config).items() if k not in tied}
    for name, (rows, *rest) in shapes.items():
        size = (rows // 4 if name in codes else rows, *rest)
        begin, end = end, end + math.prod(size) * (1 if name in codes else 2)
        kind = "U8" if name in codes else "BF16"
        entries[name] = {"dtype": kind, "shape": size, "data_offsets": [begin, end]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(family.config_fields(config)))
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    rng = np.random.default_rng(1)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, entry in entries.items():
            for block in _drawn(name, entry["shape"], rng):
                file.write(block.tobytes())
    return end


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """A tensor as it is stored, in blocks: bytes of codes, or the high halves of floats."""
    count = math.prod(shape)
    for begin in range(0, count, BLOCK):
        size = min(BLOCK, count - begin)
        if name.endswith("_proj.weight"):
            yield _BYTES.astype(np.uint8)[rng.integers(0, len(_BYTES), size, np.uint8)]
            continue
        values = rng.standard_normal(size, np.float32)
        if name.endswith("_scale"):
            values = np.full(size, 0.02, np.float32)
        elif name.endswith("norm.weight"):
            values = 1 + values / 10
        yield (values.view(np.uint32) >> 16).astype("<u2")


def verbs(folder: Path, work: Path) -> dict[str, list[str]]:
    """Commands that take a transformer, by name."""
    np.save(work / "ids.npy", np.array([1, 2]))
    two = ["--ids", str(work / "ids.npy"), "-o", str(work / "l.npy"), "--backend"]
    setun, image = ["-m", "setun"], str(work / "m.setun")
    return {
        "inspect": [*setun, "inspect", str(folder)],
        "logits": [*setun, "logits", str(folder), *two, "float"],
        "import": [*setun, "import", str(folder), "-o", image, "--packing", "1.6b"],
        "logits, golden": [*setun, "logits", image, *two, "golden"],
    }


def measured(folder: Path, work: Path) -> dict[str, Run]:
    """What each verb took."""
    return {name: run(command) for name, command in verbs(folder, work).items()}


def main() -> None:
    """Make the checkpoint and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if not (folder / "model.safetensors").exists():
        print(f"{write_packed(folder, LIKE_2B4T) / 1e9:.2f} GB")
    for name, done in measured(folder, folder).items():
        print(f"{name}: {done.seconds:.1f} s, {done.mebibytes:.0f} MiB")


if __name__ == "__main__":
    main()
