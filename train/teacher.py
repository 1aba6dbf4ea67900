"""A trained model that another one learns from: what it expects at each place of the text."""

import numpy as np
import torch
from torch import Tensor

from setun.firmware.models.checkpoint import Checkpoint
from setun.sim.texts import WINDOW
from setun.train import architectures
from setun.train.devices import matmul_type
from setun.train.recipe import POSITIONS

ROWS = 16  # side by side


@torch.no_grad()
def expectations(teacher: Checkpoint, ids: Tensor, device: torch.device) -> Tensor:
    """The teacher's probabilities of the next token, float16 [n, V], after each of `ids` [n].

    It reads rows of two windows, or of its positions where they are fewer, from a zero state, and
    tells of their second halves: so it knows much of what came before, but where the text begins.
    """
    model = architectures.build(teacher.architecture, teacher.config, 0.0, matmul_type(device))
    model.to(device).eval()
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.from_numpy(np.array(teacher.tensors[name])))
    half = min(2 * WINDOW, getattr(teacher.config, POSITIONS, 2 * WINDOW)) // 2
    count = -(-len(ids) // half)
    padded = torch.cat([ids, ids.new_zeros(count * half - len(ids))])
    told = [_shares(model, padded[None, :half].to(device))]
    starts = torch.arange(count - 1)[:, None] * half
    for part in starts.split(ROWS) if count > 1 else ():
        rows = padded[part + torch.arange(2 * half)].to(device)
        told.append(_shares(model, rows)[:, half:])
    return torch.cat([shares.flatten(0, 1) for shares in told])[: len(ids)]


def _shares(model: architectures.TrainedModel, ids: Tensor) -> Tensor:
    """Probabilities [B, T, V] after each of ids [B, T]."""
    return model(ids).float().softmax(-1).half().cpu()
