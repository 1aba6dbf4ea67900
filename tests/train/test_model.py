"""The model that is trained against the float reference, and its gradients against autograd's."""

import numpy as np
import pytest

from bench.folders import ROOT

torch = pytest.importorskip("torch")
from setun.firmware.models.architecture import HGRN_BIT  # noqa: E402
from setun.firmware.models.checkpoint import load_checkpoint  # noqa: E402
from setun.firmware.models.hgrn_bit import HgrnBitConfig  # noqa: E402
from setun.sim.reference.hgrn_bit import FloatModel  # noqa: E402
from setun.train import layers, plain  # noqa: E402
from setun.train.hgrn_bit import TrainedModel  # noqa: E402

SHIPPED = ROOT / "setun" / "models" / "shakespeare-small"


def test_names_and_shapes_are_upstreams() -> None:
    config = HgrnBitConfig(vocab_size=11, hidden_size=16, num_hidden_layers=2, intermediate_size=24)
    found = {name: tuple(p.shape) for name, p in TrainedModel(config).named_parameters()}
    assert found == HGRN_BIT.expected_shapes(config)


def test_logits_are_the_references() -> None:
    """A few tokens, before the first code that falls on the other side of a half."""
    checkpoint = load_checkpoint(SHIPPED)
    model = TrainedModel(checkpoint.config).eval()
    ids = np.random.default_rng(3).integers(0, checkpoint.config.vocab_size, (8, 6))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(checkpoint.tensors[name])))
        ours = model(torch.from_numpy(ids)).numpy()
    theirs = FloatModel(checkpoint).forward_batch(ids)
    difference = np.abs(ours - theirs)
    assert np.median(difference) < 1e-4 and difference.mean() < 0.02
    assert (ours.argmax(-1) == theirs.argmax(-1)).mean() > 0.95


@pytest.mark.parametrize("scale", [1.0, 1e-4, 0.0])
def test_bit_linears_and_their_gradients(scale: float) -> None:
    """At zero and near it too: nothing is divided by."""
    draw = torch.Generator().manual_seed(1)
    shapes = (5, 12), (12,), (7, 12), (12,), (3, 12)
    x, *pairs = (torch.randn(s, dtype=torch.float64, generator=draw) for s in shapes)
    given = [t.requires_grad_() for t in ((scale * x).detach(), *pairs)]
    outs = [torch.randn(5, n, dtype=torch.float64, generator=draw) for n in (7, 3)]
    ours = layers.Project.apply(given[0], None, torch.float64, *given[1:])
    theirs = [plain.bit_linear(given[0], *given[k : k + 2]) for k in (1, 3)]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(
        torch.autograd.grad(ours, given, outs),
        torch.autograd.grad(theirs, given, outs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("matmul", [torch.float32, torch.bfloat16])
def test_whole_model_and_its_gradients(matmul) -> None:
    """Against the plain one; bfloat16 leaves the forward pass of a CPU exact."""
    torch.manual_seed(5)
    config = HgrnBitConfig(vocab_size=11, hidden_size=32, num_hidden_layers=3, intermediate_size=48)
    model = TrainedModel(config, matmul=matmul)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ids = torch.randint(11, (4, 19))
    found = []
    for logits in (model(ids), plain.logits(model, ids)):
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
        found.append((logits, torch.autograd.grad(loss, list(model.parameters()))))
    (ours, our_gradients), (theirs, their_gradients) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    bound = 0.02 if matmul == torch.bfloat16 else 1e-3
    for a, b in zip(our_gradients, their_gradients, strict=True):
        assert (a - b).norm() <= bound * b.norm() + 1e-7


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
