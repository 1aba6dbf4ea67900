"""The logits' scale, fitted on text that no step has seen.

A model that has learnt a small text by heart is surer of itself than it may be; one factor on its
logits mends that (temperature scaling; Guo et al., arXiv 1706.04599). The head's scale takes it up,
so that a checkpoint, and a chip, have it for nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from setun.sim.texts import WINDOW

ROUNDS = 2  # of Newton's method: one evaluation begins where the last one ended
FARTHEST = 2.0  # change in a round
STRETCHES = 16
"""Of a text: each gives a piece of its middle. One end of a play says little about another play,
and what comes just before the held-out text is worth the most in learning."""


def split(ids: NDArray[np.int64], aside: int) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Ids without those set aside, in a row, and the pieces of these, `aside` ids in all."""
    pieces = max(1, min(STRETCHES, aside // WINDOW))
    learnt, apart = [], []
    for number, stretch in enumerate(np.array_split(ids, pieces)):
        length = aside // pieces + (number < aside % pieces)
        begin = (len(stretch) - length) // 2
        learnt += [stretch[:begin], stretch[begin + length :]]
        apart.append(stretch[begin : begin + length])
    return np.concatenate(learnt), apart


@torch.no_grad()
def fitted(model: Callable[[Tensor], Tensor], rows: Sequence[Tensor], scale: float = 1.0) -> float:
    """The factor on `model`'s logits with the least loss, from `scale` on.

    Parameters
    ----------
    model
        ids [B, T] to logits [B, T, vocabulary].
    rows
        Ids [B, T + 1], whose last T are to be told.
    """
    for _ in range(ROUNDS):
        slope = curve = 0.0  # of the loss over the factor: it is convex
        for ids in rows:
            logits = model(ids[:, :-1]).float().flatten(0, 1)
            shares = (scale * logits).softmax(-1)
            mean = (shares * logits).sum(-1)
            slope += (mean - logits.gather(1, ids[:, 1:].reshape(-1, 1))[:, 0]).sum().item()
            curve += ((shares * logits**2).sum(-1) - mean**2).sum().item()
        if curve <= 0:
            break  # no logit differs from another
        scale = min(max(scale - slope / curve, scale / FARTHEST), scale * FARTHEST)
    return scale
