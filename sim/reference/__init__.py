"""Float references: what each architecture's own code computes, a file each."""

from importlib import import_module
from typing import Any, Protocol

from setun.firmware.models.checkpoint import Checkpoint
from setun.sim.reference.layers import Array, Ids


class FloatModel(Protocol):
    """A checkpoint in float32, ready to run."""

    def forward_batch(self, ids: Ids) -> Array:
        """Logits [B, T, V] of B sequences, each from a zero state."""
        ...

    def reset(self) -> None:
        """Forget what `step` was given."""
        ...

    def step(self, token: int) -> Array:
        """Logits [V] after one more token."""
        ...


def float_model(checkpoint: Checkpoint) -> FloatModel:
    """The float reference of the checkpoint's architecture."""
    module: Any = import_module(checkpoint.architecture.reference)
    model: FloatModel = module.FloatModel(checkpoint)
    return model
