"""A training run on disk: one safetensors file with everything that the next step depends on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from setun.firmware.errors import SetunError
from setun.firmware.outputs import write_output
from setun.train.recipe import Recipe

FILE = "training.safetensors"
FORMAT = "setun-training-1"


@dataclass(frozen=True)
class Snapshot:
    """What a run is at the end of a step: `tensors` by name and `facts`, plain JSON."""

    recipe: Recipe
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def write_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Replace the run's file in one step: a kill at any moment leaves the old one or the new."""
    meta = {
        "format": FORMAT,
        "recipe": snapshot.recipe.to_json(),
        "facts": json.dumps(snapshot.facts),
    }
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in snapshot.tensors.items()
    }
    write_output(folder / FILE, save(tensors, metadata=meta))


def read_snapshot(folder: Path) -> Snapshot:
    """The run's file; SetunError when it is missing or not such a file."""
    path = folder / FILE
    try:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        meta = json.loads(data[8 : 8 + length])["__metadata__"]
        if meta["format"] != FORMAT:
            raise SetunError(str(path), f"must have the format {FORMAT}", meta["format"])
        return Snapshot(Recipe.from_json(meta["recipe"]), load(data), json.loads(meta["facts"]))
    except OSError as error:
        raise SetunError(str(path), "must be readable", error.strerror or error) from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise SetunError(str(path), "must be what setun train wrote", error) from error


def generator_state(device: torch.device) -> dict[str, Tensor]:
    """States of the generators that dropout draws from."""
    states = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_generators(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """What `generator_state` told."""
    torch.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
