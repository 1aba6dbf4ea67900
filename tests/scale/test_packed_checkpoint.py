"""A packed transformer of 0.12 GB: what reading, importing and computing it hold at their peaks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scale.packed_checkpoint import LIKE_2B4T, measured, write_packed
from setun.firmware.models.checkpoint import load_checkpoint
from setun.sim.reference import float_model

# Beside Python and its libraries nothing, or its projections and its embedding in float32, 556 and
# 164 MB, and a matrix as codes; on the way to the golden model no projection is a float.
PEAK = {"inspect": 160, "logits": 900, "import": 420, "logits, golden": 420}


@pytest.mark.slow
def test_memory_of_all_verbs(tmp_path: Path) -> None:
    cut = replace(LIKE_2B4T, num_hidden_layers=2, vocab_size=16_032)
    assert write_packed(tmp_path / "model", cut) > 115e6
    done = measured(tmp_path / "model", tmp_path)
    for name, took in done.items():
        print(f"{name}: {took.seconds:.1f} s, {took.mebibytes:.0f} MiB")
    assert np.load(tmp_path / "l.npy").shape == (2, 16_032)
    assert all(took.mebibytes <= PEAK[name] for name, took in done.items()), done


def test_what_the_script_writes_is_a_model(tmp_path: Path) -> None:
    small = replace(
        LIKE_2B4T,
        vocab_size=96,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
    )
    write_packed(tmp_path, small)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.config == small
    codes = checkpoint.tensors["model.layers.1.mlp.down_proj.weight"]
    assert codes.shape == (64, 128) and set(np.unique(codes)) == {-1, 0, 1}
    logits = float_model(checkpoint).forward_batch(np.arange(9)[None])
    assert logits.shape == (1, 9, 96) and np.isfinite(logits).all() and logits.std() > 0.1
