"""Numerics-aware training: its operations are the chip's, its errors the golden model's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.folders import ROOT

torch = pytest.importorskip("torch")
from setun.firmware.models.checkpoint import load_checkpoint  # noqa: E402
from setun.firmware.numerics import noise, rotary  # noqa: E402
from setun.firmware.numerics.arithmetic import Arithmetic  # noqa: E402
from setun.firmware.numerics.lmul import lmul  # noqa: E402
from setun.firmware.numerics.options import CODE_FRACTION, PRESETS, Numerics  # noqa: E402
from setun.models.load import open_model  # noqa: E402
from setun.sim.evaluate import golden_logits  # noqa: E402
from setun.sim.reference.hgrn_bit import FloatModel  # noqa: E402
from setun.train.chip import Chip, Quantiser  # noqa: E402
from setun.train.hgrn_bit import TrainedModel  # noqa: E402
from setun.train.scan import scan  # noqa: E402
from setun.train.state import read_snapshot  # noqa: E402
from train.runs import train, write_text  # noqa: E402

SHIPPED = ROOT / "setun" / "models" / "shakespeare-small"
NUMBERS = st.lists(
    st.floats(-1024, 1024, width=32).filter(lambda x: x == 0 or abs(x) > 2**-30),
    min_size=2,
    max_size=40,
)


def tensor(x):
    return torch.from_numpy(np.asarray(x, np.float32))


# ------------------------------------------------------------------- operations
@given(x=NUMBERS, y=NUMBERS, segments=st.integers(0, 4))
def test_products_are_the_chips(x, y, segments: int) -> None:
    numerics = replace(PRESETS["lmul"], segments=segments)
    vector = numerics.vector
    a, b = vector.round(x)[:, None], vector.round(y)
    found = Chip(numerics).mul(tensor(a), tensor(b))
    np.testing.assert_array_equal(found.numpy(), lmul(a, b, vector.mantissa, segments))
    assert torch.equal(Chip(Numerics()).mul(tensor(a), tensor(b)), tensor(a) * tensor(b))


def test_turns_are_the_chips() -> None:
    """RoPE by L-Mul, but for the roundings of the vector format; other heads stay."""
    numerics = PRESETS["lmul"]
    fmt, rng = numerics.vector, np.random.default_rng(5)
    x = fmt.round(rng.normal(size=(2, 7, 3, 8)))
    phase = rotary.phases(rotary.increments(1000.0, 8), np.arange(7)[:, None])[:, None]
    cos, sin = rotary.cosine(fmt, phase), rotary.sine(fmt, phase)
    found = Chip(numerics).turned(tensor(x), 2, tensor(cos), tensor(sin)).numpy()
    want = rotary.rotated(Arithmetic(numerics), x[:, :, :2], phase)
    exact = rotary.rotated(Arithmetic(Numerics()), x[:, :, :2], phase)
    np.testing.assert_array_equal(found[:, :, 2], x[:, :, 2])
    off = np.abs(found[:, :, :2] - want).max()
    assert off < 0.01 < 3 * np.abs(want - exact).max()


@pytest.mark.parametrize("preset", ["default", "fp8"])
@given(x=NUMBERS)
@settings(max_examples=200)
def test_codes_are_the_chips(preset: str, x) -> None:
    numerics = PRESETS[preset]
    t = numerics.vector.round(x)[None]
    ones, r = torch.ones(t.shape[-1]), torch.full((1, 1), 0.25)
    codes, unit = Quantiser(Chip(numerics), tensor(t)).codes(ones, r)
    theirs, made_of = Arithmetic(numerics).codes(t, np.abs(t).max(-1, keepdims=True))
    scale = 2.0**CODE_FRACTION if numerics.fp8 else 1.0
    np.testing.assert_array_equal(codes.to(torch.float32).numpy() * scale, theirs)
    if made_of:
        np.testing.assert_allclose(unit * (1 if numerics.fp8 else 127), made_of * 0.25, rtol=1e-6)


def test_a_quantiser_norms_what_the_chip_norms() -> None:
    """Gains and units around the value only scale the codes' unit, or the codes themselves."""
    draw = torch.Generator().manual_seed(2)
    x, gain, own = (torch.rand(s, generator=draw) + 0.5 for s in ((3, 9), (9,), (9,)))
    r, unit = torch.rand((3, 1), generator=draw), torch.rand((3, 1), generator=draw)
    for name in ("default", "fp8"):
        chip = Chip(PRESETS[name])
        codes, units = Quantiser(chip, x, gain, unit).codes(own, r)
        bare, bare_units = Quantiser(chip, x * gain * own).codes(torch.ones(9), torch.ones(3, 1))
        assert torch.equal(codes, bare)
        torch.testing.assert_close(units, bare_units * unit * r)


STATES = {
    "lmul": PRESETS["lmul"],
    "lmul-paper": PRESETS["lmul-paper"],
    "stochastic": PRESETS["stochastic"],
    "lmul, stochastic": replace(PRESETS["stochastic"], multiplier="lmul"),
    "nearest": replace(PRESETS["stochastic"], state_rounding="nearest"),
}

LEAST_ALIKE = {"lmul": 0.9, "lmul-paper": 0.95}
"""Correlation of errors: the smaller L-Mul's is, the more is the roundings' of the chip."""


@pytest.mark.parametrize("name", STATES)
def test_states_err_as_the_chips(name: str) -> None:
    """Against the state without rounding: as large an error as the chip's over 300 tokens, and
    with L-Mul alone the same one."""
    numerics = STATES[name]
    rng, tokens, width = np.random.default_rng(3), 300, 96
    u = numerics.vector.round(1 / (1 + np.exp(rng.normal(2.0, 1.0, (tokens, width)))))
    a = numerics.vector.round(rng.standard_normal((tokens, width)))
    compute, h, state, golden = Arithmetic(numerics), np.zeros(width), noise.first_state(1), []
    for gate, new in zip(u, a, strict=True):
        state = noise.next_state(state)
        drawn = noise.state_noise(state, 0, width) if numerics.stochastic else None
        h = compute.remember(gate, h, new, drawn)
        golden.append(h)
    chip = Chip(numerics)
    forget, new = 1 - tensor(u)[None], chip.mul(tensor(u), tensor(a))[None]
    torch.manual_seed(4)
    ours = scan(forget, chip.rounded(forget, new))[0].numpy()
    exact = scan(forget, new)[0].numpy()
    error, theirs = ours - exact, np.array(golden) - exact
    still = name == "nearest"  # the chip's state comes to stand still, which one look ahead misses
    assert error[-200:].std() == pytest.approx(theirs[-200:].std(), rel=0.25 if still else 0.1)
    if name in LEAST_ALIKE:
        alike = np.corrcoef(error[-200:].ravel(), theirs[-200:].ravel())[0, 1]
        assert alike > LEAST_ALIKE[name]
    if not numerics.lmul:  # as often up as down
        assert abs(error.mean()) < 0.1 * error.std()


# ------------------------------------------------------------------- the model
@pytest.fixture(scope="module")
def model():
    checkpoint = load_checkpoint(SHIPPED)
    built = TrainedModel(checkpoint.config)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(checkpoint.tensors[name])))
    return built


@pytest.mark.parametrize("preset", ["lmul", "fp8", "stochastic", "all-four"])
def test_logits_err_as_much_as_the_golden_models(model, preset: str) -> None:
    ids = np.random.default_rng(4).integers(0, 65, (24, 24))
    exact = FloatModel(load_checkpoint(SHIPPED)).forward_batch(ids)
    golden = golden_logits(open_model(SHIPPED).image, PRESETS[preset], ids)
    with torch.no_grad():
        ours = model(torch.from_numpy(ids), Chip(PRESETS[preset])).numpy()
    sizes = [float((x - exact)[:, 4:].std()) for x in (ours, golden)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.15)
    assert float((golden - exact).std()) > 0.01


def test_gradients_go_straight_through(model) -> None:
    """Nearly those of float32 where the numerics change little; every parameter has one."""
    ids = torch.randint(65, (16, 32), generator=torch.Generator().manual_seed(5))
    for preset, alike in (("stochastic", 0.99), ("lmul", 0.9), ("fp8", 0.9)):
        found = []
        for logits in (model(ids), model(ids, Chip(PRESETS[preset]))):
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
            found.append(torch.autograd.grad(loss, list(model.parameters())))
        ours, theirs = (torch.cat([g.flatten() for g in gradients]) for gradients in found)
        assert torch.cosine_similarity(ours, theirs, dim=0) > alike
        assert all(bool(g.abs().max() > 0) for g in found[1])


def test_noise_of_the_state_follows_the_seed(model) -> None:
    ids = torch.randint(65, (2, 5), generator=torch.Generator().manual_seed(6))
    chip = Chip(PRESETS["stochastic"])
    logits = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        logits.append(model(ids, chip))
    assert torch.equal(logits[0], logits[1]) and not torch.equal(logits[0], logits[2])


# ------------------------------------------------------------------- runs
def test_goes_on_from_a_model_in_the_chips_numerics(tmp_path: Path) -> None:
    """A run that begins with another's weights: its sizes, losses by the golden model, a card that
    tells before and after; going on with it needs the same."""
    text, first, out = write_text(tmp_path), tmp_path / "first", tmp_path / "out"
    train(text, first, steps=40)
    more = ("--dropout", "0", "--init", str(first), "--numerics", "lmul", "--json")
    told = json.loads(train(text, out, *more, steps=10).stdout)
    assert told["held_out_loss"] == pytest.approx(told["golden_loss"], abs=1e-6)
    given, exact = told["held_out_loss_before"], told["float_loss_before"]
    assert given != exact and given == pytest.approx(exact, rel=0.05)
    card = (out / "README.md").read_text()
    assert f"| held-out loss, before | {given:.4f}, in float32 {exact:.4f}" in card
    assert "lmul" in card
    ran, head = read_snapshot(out), load_checkpoint(first).tensors["lm_head.weight"]
    assert len(ran.facts["progress"]["losses"]) == 2
    assert not np.array_equal(ran.tensors["model.lm_head.weight"].numpy(), head)
    refused = train(text, out, "--resume", "--dropout", "0", steps=10, check=False)
    assert refused.returncode == 1 and "options: must be the run's" in refused.stderr


def test_refusals(tmp_path: Path) -> None:
    text, first = write_text(tmp_path), tmp_path / "first"
    train(text, first)
    for more, said in (
        (("--init", str(tmp_path / "none")), "none"),
        (("--init", str(first), "--layers", "3"), "sizes: must be those"),
    ):
        done = train(text, tmp_path / "out", *more, check=False)
        assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
    text.write_text(text.read_text() + "é" * 40)
    done = train(text, tmp_path / "out", "--init", str(first), check=False)
    assert done.returncode == 1 and "U+00E9" in done.stderr and done.stderr.count("\n") == 1
