"""`setun logits`: logits of token ids, for comparison with other implementations."""

import io
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from setun.cli.common import bar, check_written, emit, json_option
from setun.cli.options import numerics_option
from setun.firmware.errors import SetunError
from setun.firmware.file_kinds import LENGTH, refuse_other_kind
from setun.firmware.numerics.options import Numerics
from setun.firmware.outputs import write_output
from setun.models.load import Model, open_model
from setun.sim.evaluate import golden_logits
from setun.sim.folded import FoldedModel
from setun.sim.reference import float_model

NPY = b"\x93NUMPY"


def read_ids(path: Path, vocabulary: int) -> NDArray[np.int64]:
    """Token ids [T] or [B, T] of a .npy file.

    Raises
    ------
    SetunError
        The file is no .npy file, pickled, truncated, of another type or shape, or has an id
        outside the vocabulary.
    """
    with path.open("rb") as file:
        head = file.read(LENGTH)
    refuse_other_kind(str(path), "must be a .npy file", head)
    magic = head[: len(NPY)]
    if magic != NPY:
        raise SetunError(str(path), "must be a .npy file", f"starts with {magic.hex() or '-'}")
    try:
        # Mapped, because a damaged header may promise more than memory holds.
        ids: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy evaluates the header and lets its tokenizer's errors out
        raise SetunError(str(path), "must be a whole .npy file of numbers", error) from error
    if ids.dtype.kind not in "iu" or ids.ndim not in (1, 2) or not ids.size:
        raise SetunError(
            str(path),
            "must be integers [T] or [B, T]",
            f"{ids.dtype} {list(ids.shape)}",
            "np.save(path, ids.astype(np.int64))",
        )
    outside = (ids < 0) | (ids >= vocabulary)
    if outside.any():
        place = [int(k) for k in np.argwhere(outside)[0]]
        raise SetunError(
            str(path), f"token ids must be 0 to {vocabulary - 1}", f"{ids[tuple(place)]} at {place}"
        )
    return np.array(ids, np.int64)


def compute(
    model: Model, ids: NDArray[np.int64], backend: str, numerics: Numerics
) -> NDArray[np.float32]:
    """Logits [.., T, V], float32, every sequence from a zero state."""
    rows = np.atleast_2d(ids)
    if backend == "golden":
        with bar("golden", ids.size) as step:
            logits = golden_logits(model.image, numerics, rows, step)
    elif model.checkpoint is None:
        logits = FoldedModel(model.image).forward_batch(rows)
    else:
        logits = float_model(model.checkpoint).forward_batch(rows)
    return np.ascontiguousarray(logits.reshape(*ids.shape, -1), np.float32)


@click.command()
@click.argument("model", metavar="DIR|M")
@click.option(
    "--ids",
    "file",
    required=True,
    metavar="F.npy",
    help="Token ids, integers [T] or [B, T].",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "-o", "--output", required=True, type=Path, metavar="OUT.npy", help="Logits, float32."
)
@click.option("--backend", required=True, type=click.Choice(["float", "golden"]))
@numerics_option
@json_option
def command(
    model: str, file: Path, output: Path, backend: str, numerics: Numerics | None, as_json: bool
) -> None:
    """Logits of token ids.

    \b
    setun logits shakespeare --ids ids.npy -o logits.npy --backend golden
    """
    check_written(output, as_json)
    opened = open_model(model)
    ids = read_ids(file, opened.vocab_size)
    logits = compute(opened, ids, backend, numerics or opened.numerics)
    buffer = io.BytesIO()
    np.save(buffer, logits, allow_pickle=False)
    write_output(output, buffer.getvalue())
    result = {
        "output": output,
        "shape": list(logits.shape),
        "backend": backend,
        "model_hash": opened.model_hash,
    }
    emit(result, as_json, f"{output}: logits {result['shape']}, {backend}", output)
