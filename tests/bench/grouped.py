"""Random transformers with scales of groups."""

from dataclasses import replace
from typing import Any

import numpy as np

from setun.firmware.models.architecture import find
from setun.firmware.models.bitnet.projections import projections
from setun.firmware.models.checkpoint import Checkpoint
from setun.models.random import random_checkpoint
from setun.sim.studies.groups import CONFIG

LIKE_BONSAI = replace(
    CONFIG,
    vocab_size=90,
    hidden_size=256,
    intermediate_size=384,
    num_hidden_layers=2,
    num_attention_heads=4,
    head_dim=32,
    max_position_embeddings=24,
    ternary_head=True,
)
"""Norms of queries and keys, no sub-norms, a ternary head, weights alone made ternary."""


def grouped_checkpoint(seed: int = 3, **changes: Any) -> Checkpoint:
    """Scales of either sign, a few of them 0, that float16 holds."""
    config = replace(LIKE_BONSAI, **changes)
    made = random_checkpoint(find("bitnet"), config, seed)
    rng, tensors = np.random.default_rng(seed), dict(made.tensors)
    for name, (rows, columns) in projections(config).items():
        tensors[f"{name}.weight"] = rng.integers(-1, 2, (rows, columns)).astype(np.int8)
        shape = rows, columns // config.group
        scales = np.exp(0.5 * rng.normal(size=shape)) * columns**-0.5
        scales *= rng.choice([-1.0, 0.0, 1.0], shape, p=[0.1, 0.02, 0.88])
        scales[0] = 0.0
        tensors[f"{name}.weight_scale"] = scales.astype(np.float16).astype(np.float32)
    for tensor in tensors.values():
        tensor.flags.writeable = False
    return replace(made, tensors=tensors)
