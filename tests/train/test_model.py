"""The model that is trained against the float reference, and its gradients against autograd's."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from setun.firmware.checkpoint import ModelConfig, expected_shapes, load_checkpoint  # noqa: E402
from setun.sim.reference import FloatModel  # noqa: E402
from setun.train import layers  # noqa: E402
from setun.train.model import HgrnBit  # noqa: E402

SHIPPED = Path(__file__).parents[2] / "setun" / "models" / "shakespeare-small"


def test_names_and_shapes_are_upstreams() -> None:
    config = ModelConfig(vocab_size=11, hidden_size=16, num_hidden_layers=2, intermediate_size=24)
    found = {name: tuple(p.shape) for name, p in HgrnBit(config).named_parameters()}
    assert found == expected_shapes(config)


def test_logits_are_the_references() -> None:
    """A few tokens, before the first code that falls on the other side of a half."""
    checkpoint = load_checkpoint(SHIPPED)
    model = HgrnBit(checkpoint.config).eval()
    ids = np.random.default_rng(3).integers(0, checkpoint.config.vocab_size, (8, 6))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(checkpoint.tensors[name])))
        ours = model(torch.from_numpy(ids)).numpy()
    theirs = FloatModel(checkpoint).forward_batch(ids)
    difference = np.abs(ours - theirs)
    assert np.median(difference) < 1e-4 and difference.mean() < 0.02
    assert (ours.argmax(-1) == theirs.argmax(-1)).mean() > 0.95


def plain_bit_linear(x, gain, weight):
    """BitLinear with the straight-through estimator as detached differences, by autograd."""
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + layers.BITLINEAR_EPS) * gain
    a = 127 / y.detach().abs().amax(-1, keepdim=True).clamp(min=layers.ABSMAX_FLOOR)
    v = y.detach() * a
    q = torch.trunc(v + torch.copysign(torch.full_like(v, 0.5), v)) / a
    u, m = layers.ternary(weight.detach())
    return (y + (q - y).detach()) @ (weight + (u * m - weight).detach()).T


@pytest.mark.parametrize("scale", [1.0, 1e-4, 0.0])
def test_bit_linear_and_its_gradient(scale: float) -> None:
    """At zero and near it too: nothing is divided by."""
    draw = torch.Generator().manual_seed(1)
    x, gain, weight = (
        torch.randn(shape, dtype=torch.float64, generator=draw)
        for shape in ((5, 12), (12,), (7, 12))
    )
    given = [t.requires_grad_() for t in ((scale * x).detach(), gain, weight)]
    out = torch.randn(5, 7, dtype=torch.float64, generator=draw)
    ours = layers.Project.apply(*given, torch.float64)
    theirs = plain_bit_linear(*given)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(
        torch.autograd.grad(ours, given, out), torch.autograd.grad(theirs, given, out), strict=True
    ):
        torch.testing.assert_close(a, b)


def doubles(*shapes: tuple[int, ...]):
    draw = torch.Generator().manual_seed(2)
    return [torch.randn(s, dtype=torch.float64, generator=draw).requires_grad_() for s in shapes]


def test_gradients_of_the_other_layers() -> None:
    check = torch.autograd.gradcheck
    x, gain = doubles((4, 6), (6,))
    assert check(lambda x, gain: layers.RmsNorm.apply(x, gain, 1e-6), (x, gain))
    assert check(layers.Swiglu.apply, doubles((4, 6), (4, 6)))
    i, f, bound = doubles((3, 5), (3, 5), (5,))
    bound = torch.sigmoid(bound).detach().requires_grad_()
    assert check(layers.Gates.apply, (i, f, bound))


def test_halves_round_away_from_zero() -> None:
    halves = torch.tensor([0.5, -0.5, 1.5, -2.5, 0.49, -126.5])
    assert layers.round_half_away(halves).tolist() == [1, -1, 2, -3, 0, -127]
