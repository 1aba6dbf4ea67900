"""The layers that an architecture is trained with."""

from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from setun.firmware.errors import SetunError
from setun.firmware.models.architecture import Architecture
from setun.train.chip import Chip


class TrainedModel(Protocol):
    """A model in training; its parameters are named as the checkpoint's tensors.

    Members
    -------
    config
        The architecture's own.
    head
        The parameter whose magnitude scales the logits and whose codes do not change with it.
    """

    config: Any
    head: str

    def __call__(self, ids: Tensor, chip: Chip | None = None) -> Tensor:
        """Logits [B, T, V] of ids [B, T], every row from a zero state; in float32, or with what
        the numerics of `chip` make of it."""
        ...


def build(
    architecture: Architecture,
    config: Any,
    dropout: float = 0.0,
    matmul: torch.dtype = torch.float32,
) -> Any:
    """A `TrainedModel`, an `nn.Module`, with fresh weights from PyTorch's generator.

    Raises
    ------
    SetunError
        The architecture has no layers to train.
    """
    if not architecture.training:
        rule, fix = "must have layers to train", "train the model elsewhere and import it"
        raise SetunError("architecture", rule, architecture.model_type, fix)
    module: Any = import_module(architecture.training)
    model: nn.Module = module.TrainedModel(config, dropout, matmul)
    return model
