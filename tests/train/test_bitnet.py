"""Transformers in training: against the float reference, autograd, and the golden model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from setun.firmware.errors import SetunError  # noqa: E402
from setun.firmware.models.architecture import find  # noqa: E402
from setun.firmware.models.checkpoint import Checkpoint, load_checkpoint  # noqa: E402
from setun.firmware.models.compiler import compile_checkpoint  # noqa: E402
from setun.firmware.numerics.options import PRESETS  # noqa: E402
from setun.sim.evaluate import golden_logits  # noqa: E402
from setun.sim.reference.bitnet import FloatModel  # noqa: E402
from setun.train import layers  # noqa: E402
from setun.train.bitnet import TrainedModel  # noqa: E402
from setun.train.chip import Chip  # noqa: E402
from setun.train.plain import rms_norm  # noqa: E402
from setun.train.state import FILE, read_snapshot  # noqa: E402
from setun.train.teacher import expectations  # noqa: E402
from train import plain_bitnet as plain  # noqa: E402
from train.runs import contents, train, write_text  # noqa: E402

FAMILY = find("bitnet")
USUAL = replace(FAMILY.sized(11, 128, 2, 48), max_position_embeddings=32, rope_theta=100.0)
KINDS = {
    "relu2, one key head": USUAL,
    "silu, no sub-norms, own head": replace(
        USUAL,
        hidden_act="silu",
        sub_norms=False,
        tie_word_embeddings=False,
        num_key_value_heads=2,
    ),
    "norms of queries and keys": replace(
        USUAL, qk_norm=True, sub_norms=False, num_key_value_heads=4
    ),
}
TRANSFORMER = ("--architecture", "bitnet")


def model_of(config, **more) -> TrainedModel:
    """Fresh, but that no parameter has its first value."""
    torch.manual_seed(5)
    model = TrainedModel(config, **more)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def checkpoint_of(model: TrainedModel) -> Checkpoint:
    tensors = {n: p.detach().numpy() for n, p in model.named_parameters()}
    tensors |= {name: tensors[other] for name, other in FAMILY.tied(model.config).items()}
    return Checkpoint(architecture=FAMILY, config=model.config, tensors=tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_shapes_are_the_checkpoints(kind: str) -> None:
    config = KINDS[kind]
    found = {name: tuple(p.shape) for name, p in TrainedModel(config).named_parameters()}
    expected = FAMILY.expected_shapes(config)
    assert found == {n: s for n, s in expected.items() if n not in FAMILY.tied(config)}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_references(kind: str) -> None:
    """But for the few codes that fall on the other side of a half."""
    model = model_of(KINDS[kind]).eval()
    ids = np.random.default_rng(3).integers(0, 11, (8, 12))
    with torch.no_grad():
        ours = model(torch.from_numpy(ids)).numpy()
    difference = np.abs(ours - FloatModel(checkpoint_of(model)).forward_batch(ids))
    assert np.median(difference) < 1e-4 and difference.mean() < 0.02 * ours.std()


@pytest.mark.parametrize("matmul", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_model_and_its_gradients(kind: str, matmul) -> None:
    """Against autograd's; bfloat16 leaves the forward pass of a CPU exact."""
    model = model_of(KINDS[kind], matmul=matmul)
    ids = torch.randint(11, (4, 19), generator=torch.Generator().manual_seed(7))
    found = []
    for logits in (model(ids), plain.logits(model, ids)):
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
        found.append((logits, torch.autograd.grad(loss, list(model.parameters()))))
    (ours, our_gradients), (theirs, their_gradients) = found
    assert (ours - theirs).abs().median() < 1e-4
    for a, b in zip(our_gradients, their_gradients, strict=True):
        assert (a - b).norm() <= 0.05 * b.norm() + 1e-7


@pytest.mark.parametrize("scale", [1.0, 1e-4, 0.0])
@pytest.mark.parametrize("normed", [True, False])
def test_projections_and_their_gradients(scale: float, normed: bool) -> None:
    """At zero and near it too: nothing is divided by."""
    draw = torch.Generator().manual_seed(1)
    shapes = (5, 12), (7, 12), (3, 12), (12,)
    x, *given = (torch.randn(s, dtype=torch.float64, generator=draw) for s in shapes)
    x, a, b, gain = (t.requires_grad_() for t in ((scale * x).detach(), *given))
    gains = gain if normed else None
    ours = layers.NormedProject.apply(x, gains, 1e-5, None, torch.float64, a, b)
    n = rms_norm(x, gain, 1e-5) if normed else x
    theirs = torch.cat([plain.bit_linear(n, a), plain.bit_linear(n, b)], -1)
    torch.testing.assert_close(ours, theirs)
    out = torch.randn(5, 10, dtype=torch.float64, generator=draw)
    wanted = [x, a, b, gain] if normed else [x, a, b]
    for one, other in zip(
        torch.autograd.grad(ours, wanted, out),
        torch.autograd.grad(theirs, wanted, out),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_gradients_of_the_other_layers() -> None:
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=draw).requires_grad_()
    angles = torch.rand(3, 1, 3, dtype=torch.float64, generator=draw)
    check = torch.autograd.gradcheck
    assert check(lambda x: layers.Rotate.apply(x, 3, angles.cos(), angles.sin()), (x,))
    assert check(lambda x: layers.Relu2.apply(x.flatten(0, 2)), (x,))


def test_what_is_not_trained_is_refused() -> None:
    for field, value in (("packed", True), ("group", 128), ("ternary_head", True)):
        with pytest.raises(SetunError, match="model to train"):
            TrainedModel(replace(USUAL, **{field: value}))


# ------------------------------------------------------------------- the chip's numerics
@pytest.mark.parametrize("preset", ["lmul", "fp8"])
@pytest.mark.parametrize("kind", ["relu2, one key head", "silu, no sub-norms, own head"])
def test_logits_err_as_much_as_the_golden_models(kind: str, preset: str) -> None:
    model = model_of(KINDS[kind])
    ids = np.random.default_rng(4).integers(0, 11, (48, 24))
    checkpoint = checkpoint_of(model)
    exact = FloatModel(checkpoint).forward_batch(ids)
    golden = golden_logits(compile_checkpoint(checkpoint), PRESETS[preset], ids)
    with torch.no_grad():
        ours = model(torch.from_numpy(ids), Chip(PRESETS[preset])).numpy()
    sizes = [float((x - exact)[:, 4:].std()) for x in (ours, golden)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.15)
    assert float((golden - exact).std()) > 0.01


def test_gradients_go_straight_through() -> None:
    model = model_of(USUAL)
    ids = torch.randint(11, (16, 32), generator=torch.Generator().manual_seed(5))
    for preset in ("lmul", "fp8"):
        loss = model(ids, Chip(PRESETS[preset])).logsumexp(-1).sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert all(bool(g.isfinite().all()) and bool(g.abs().max() > 0) for g in gradients)


# ------------------------------------------------------------------- runs
def test_a_run_goes_on_and_is_gone_on_with(tmp_path: Path) -> None:
    """Learns; the same bits again, by way of an interruption; begins another in the chip's
    numerics."""
    text, out, again = write_text(tmp_path), tmp_path / "out", tmp_path / "again"
    told = json.loads(train(text, out, *TRANSFORMER, "--json", steps=60).stdout)
    config = load_checkpoint(out).config
    assert config.max_position_embeddings == 16 and config.tie_word_embeddings
    assert told["held_out_loss"] < 3.1 < 3.3  # ln 28, the loss of knowing nothing, is 3.33
    assert told["golden_loss"] == pytest.approx(told["held_out_loss"], abs=0.05)
    assert "windows of 16 from a zero state" in (out / "README.md").read_text()
    train(text, again, *TRANSFORMER, steps=60)
    assert contents(again)["model.safetensors"] == contents(out)["model.safetensors"]
    assert read_snapshot(out).recipe.architecture == "bitnet"
    more = ("--init", str(out), "--numerics", "lmul", "--rate", "1e-4", "--json")
    tuned = json.loads(train(text, tmp_path / "tuned", *more, steps=10).stdout)
    assert tuned["held_out_loss"] == pytest.approx(tuned["golden_loss"], abs=1e-6)
    assert tuned["held_out_loss"] <= tuned["held_out_loss_before"]


def test_fields_of_the_configuration(tmp_path: Path) -> None:
    text, out = write_text(tmp_path), tmp_path / "out"
    words = ("hidden_act=silu", "model_type=llama", "num_attention_heads=2", "rope_theta=50.0")
    train(text, out, *TRANSFORMER, *(w for word in words for w in ("--set", word)))
    config = load_checkpoint(out).config
    assert (config.hidden_act, config.sub_norms, config.rope_theta) == ("silu", False, 50.0)
    assert (config.num_attention_heads, config.num_key_value_heads) == (2, 1)
    begun = ("--init", str(out))
    for more, said in (
        ((*TRANSFORMER, "--set", "hidden_activation=silu"), "field: must be one that bitnet has"),
        ((*TRANSFORMER, "--set", "hidden_act=gelu"), "field hidden_act: must be"),
        ((*TRANSFORMER, "--set", "hidden_size=32"), "sizes: must be what --hidden"),
        ((*TRANSFORMER, "--set", "max_position_embeddings=8"), "context: must be at most"),
        (("--architecture", "bitnets"), "model_type: must be one of"),
        ((*begun, "--architecture", "hgrn_bit"), "--architecture: must be left"),
        ((*begun, "--set", "hidden_act=relu2"), "--set: must be left"),
    ):
        done = train(text, tmp_path / "other", *more, check=False)
        assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1


# ------------------------------------------------------------------- a teacher
def test_expectations_are_the_teachers(tmp_path: Path) -> None:
    """What it says behind a part of its positions, wherever the text is long enough."""
    model = model_of(USUAL).eval()
    ids = torch.randint(11, (100,), generator=torch.Generator().manual_seed(8))
    told = expectations(checkpoint_of(model), ids, torch.device("cpu")).float()
    with torch.no_grad():
        expected = torch.cat([model(ids[None, :16]), model(ids[None, :32])[:, 16:]], 1).softmax(-1)
        last = model(torch.cat([ids[80:], ids.new_zeros(12)])[None]).softmax(-1)[0, 16:20]
    assert told.shape == (100, 11)
    torch.testing.assert_close(told[:32], expected[0], rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(told[96:], last, rtol=1e-2, atol=1e-3)


def test_learns_from_a_teacher(tmp_path: Path) -> None:
    """A model of the other family teaches; alone, its probabilities are all that is learnt."""
    text, teacher = write_text(tmp_path), tmp_path / "teacher"
    train(text, teacher, steps=100)
    whole = ("--teacher", str(teacher), "--taught", "1", "--json")
    told = json.loads(train(text, tmp_path / "a", *TRANSFORMER, *whole, steps=60).stdout)
    assert told["held_out_loss"] < 3.1
    card = (tmp_path / "a" / "README.md").read_text()
    assert "100% of the loss" in card
    half = json.loads(train(text, tmp_path / "b", *TRANSFORMER, *whole[:2], "--json").stdout)
    assert half["held_out_loss"] != told["held_out_loss"]
    assert read_snapshot(tmp_path / "b").recipe.taught == 0.5
    done = train(text, tmp_path / "b", *TRANSFORMER, "--resume", check=False)
    assert done.returncode == 1 and "teacher" in done.stderr and (tmp_path / "b" / FILE).exists()
    other = tmp_path / "bytes"
    train(text, other, "--tokenizer", "byte")
    both = ("--init", str(other), "--teacher", str(teacher))
    done = train(text, tmp_path / "c", *both, check=False)
    assert done.returncode == 1 and "must have the tokenizer of --init" in done.stderr
