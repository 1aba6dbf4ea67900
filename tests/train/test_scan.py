"""The recurrence in chunks against the recurrence step by step."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from setun.train.scan import scan, sequential  # noqa: E402


def operands(batch: int, length: int, width: int, seed: int):
    draw = torch.Generator().manual_seed(seed)
    f = torch.rand(batch, length, width, dtype=torch.float64, generator=draw)
    x = torch.randn(batch, length, width, dtype=torch.float64, generator=draw)
    return f.requires_grad_(), x.requires_grad_()


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 4), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_equals_the_sequential_one(batch: int, length: int, width: int, seed: int) -> None:
    f, x = operands(batch, length, width, seed)
    torch.testing.assert_close(scan(f, x), sequential(f, x))
    weights = torch.randn(x.shape, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((way(f, x) * weights).sum(), (f, x)) for way in (scan, sequential)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("length", [1, 2, 7, 16, 17])
def test_gradient(length: int) -> None:
    assert torch.autograd.gradcheck(scan, operands(2, length, 3, length))


def test_forgets_nothing_and_everything() -> None:
    """f = 1 adds up, f = 0 keeps only the last."""
    x = torch.arange(1.0, 24.0).reshape(1, 23, 1)
    assert torch.equal(scan(torch.ones_like(x), x), x.cumsum(1))
    assert torch.equal(scan(torch.zeros_like(x), x), x)
