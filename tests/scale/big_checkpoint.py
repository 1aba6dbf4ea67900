"""A checkpoint of any size, in half precision and in shards, and what the verbs take for it.

``python tests/scale/big_checkpoint.py FOLDER --shape random-2.7b`` makes the checkpoint unless it
is there, runs the verbs on it, each a process of its own, and prints seconds and peak memory.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from setun.firmware.models.architecture import HGRN_BIT
from setun.models.random import SHAPES

SHARD = 1 << 30
"""Bytes of a shard, unless a single tensor takes more."""
BLOCK = 1 << 22
"""Numbers that are drawn at a time."""

GOLDEN = """
import sys, time
from setun.models.load import load_model
from setun.sim.golden import GoldenModel
start = time.perf_counter()
model = GoldenModel(load_model(sys.argv[1]))
print(f"opened in {time.perf_counter() - start:.1f} s", end=", ")
for token in range(3):
    start = time.perf_counter()
    model.feed(token)
    model.logits()
    took = time.perf_counter() - start
print(f"{1 / took:.2f} tokens/s")
"""


def write_checkpoint(folder: Path, shape: tuple[int, int, int, int], shard: int = SHARD) -> int:
    """Write a random HGRNBit model of (hidden, layers, intermediate, vocabulary); its bytes."""
    *sizes, vocabulary = shape
    config = HGRN_BIT.sized(vocabulary, *sizes)
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    room = shard
    for name, size in HGRN_BIT.expected_shapes(config).items():
        room -= 2 * math.prod(size)
        if room < 0 and shards[-1]:
            shards.append({})
            room = shard - 2 * math.prod(size)
        shards[-1][name] = size
    weight_map: dict[str, str] = {}
    total = 0
    for number, tensors in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        weight_map |= dict.fromkeys(tensors, file)
        total += _write_shard(folder / file, tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    fields = HGRN_BIT.config_fields(config) | {"torch_dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(fields))
    return total


def _write_shard(path: Path, tensors: dict[str, tuple[int, ...]]) -> int:
    entries, end = {}, 0
    for name, size in tensors.items():
        begin, end = end, end + 2 * math.prod(size)
        entries[name] = {"dtype": "F16", "shape": size, "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, size in tensors.items():
            file.writelines(part.data.cast("B") for part in _drawn(name, size))
    return end


def _drawn(name: str, size: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A tensor's numbers, block by block: norms near 1, others of a trained model's range."""
    draw, count = np.random.default_rng(zlib.crc32(name.encode())), math.prod(size)
    for start in range(0, count, BLOCK):
        values = draw.standard_normal(min(BLOCK, count - start), np.float32)
        if name.endswith("norm.weight"):
            values = 1.0 + 0.1 * values
        elif "lower_bounds" not in name and "embeddings" not in name:
            values *= size[-1] ** -0.5
        yield values.astype(np.float16)


@dataclass(frozen=True)
class Run:
    """How a process went: time by the clock and of processors, peak of memory, what it printed."""

    seconds: float
    processor_seconds: float
    mebibytes: float
    output: str


def run(command: Sequence[str]) -> Run:
    """Run Python with these arguments; what it maps of files counts as its memory."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    busy = usage.ru_utime + usage.ru_stime
    return Run(time.perf_counter() - start, busy, usage.ru_maxrss / 1024, output)


def verbs(folder: Path, out: Path) -> dict[str, list[str]]:
    """What is done with a checkpoint, by name: arguments for Python, in order."""
    image, board = str(out / "M.setun"), ["--board", "generic-axi4"]
    chip = ["--set", "columns=32", "--set", "rows=8"]
    setun = ["-m", "setun"]
    return {
        "import": [*setun, "import", str(folder), "-o", image, "--packing", "1.6b"],
        "inspect": [*setun, "inspect", image, "--json"],
        "estimate": [*setun, "estimate", *board, "--model", image, *chip, "--json"],
        "generate": [*setun, "generate", *board, "--model", image, *chip, "-o", str(out / "chip")],
        "golden": ["-c", GOLDEN, image],
    }


def _shape(text: str) -> tuple[int, int, int, int]:
    sizes = SHAPES.get(text) or tuple(map(int, text.split("x")))
    hidden, layers, intermediate, vocabulary = sizes
    return hidden, layers, intermediate, vocabulary


def main() -> None:
    """Make the checkpoint, run the verbs, print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the checkpoint is, or is to be")
    parser.add_argument(
        "--shape",
        type=_shape,
        default="random-2.7b",
        help="one of random models' names, or HIDDENxLAYERSxINTERMEDIATExVOCABULARY",
    )
    parser.add_argument("--only", nargs="*", help="of the verbs, these")
    options = parser.parse_args()
    out = options.folder.with_name(f"{options.folder.name}-out")
    if not (options.folder / "config.json").exists():
        start = time.perf_counter()
        size = write_checkpoint(options.folder, options.shape)
        took = time.perf_counter() - start
        print(f"{size / 1e9:.2f} GB in half precision, made in {took:.0f} s\n", flush=True)
    out.mkdir(exist_ok=True)
    print("| verb | seconds | of processors | peak memory, GiB | |\n|---|---|---|---|---|")
    for name, command in verbs(options.folder, out).items():
        if options.only and name not in options.only:
            continue
        done = run(command)
        said = done.output.strip() if name == "golden" else ""
        times = f"{done.seconds:.1f} | {done.processor_seconds:.1f}"
        print(f"| {name} | {times} | {done.mebibytes / 1024:.2f} | {said} |", flush=True)


if __name__ == "__main__":
    main()
