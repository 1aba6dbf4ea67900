"""Kernels: records that tell all layers what to do."""

import copy
import pickle

import numpy as np
import pytest

from setun.firmware.errors import SetunError
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.firmware.program import kernels
from setun.firmware.program.isa import PLACES
from setun.firmware.program.kernels import KERNELS, Kernel, Operands, Port
from setun.sim.folded import Reals


def test_codes_and_names_are_unique() -> None:
    assert len({k.code for k in KERNELS}) == len({k.name for k in KERNELS}) == len(KERNELS)
    assert all(0 <= k.code < 1 << PLACES["kernel"].bits for k in KERNELS)
    for kernel in KERNELS:
        assert kernels.named(kernel.name) is kernels.coded(kernel.code) is kernel
    for wrong in (7, -1):
        with pytest.raises(SetunError, match="kernel: must be one of 0, 1"):
            kernels.coded(wrong)
    with pytest.raises(SetunError, match="kernel: must be one of COPY, SILU"):
        kernels.named("RELU")


def test_there_is_one_object_of_each() -> None:
    """Images travel to worker processes, and are copied."""
    for kernel in KERNELS:
        assert pickle.loads(pickle.dumps(kernel)) is kernel
        assert copy.deepcopy(kernel) is kernel


def test_results_go_to_one_place() -> None:
    for kernel in KERNELS:
        assert len(kernel.writes & {Port.SOURCE, Port.DESTINATION, Port.LOGITS}) == 1, kernel
        assert bool(kernel.stores) != kernel.samples
        assert kernel.gated == (Port.STATE in kernel.reads) == (Port.GATES in kernel.reads)
        assert not kernel.ahead or Port.SOURCE in kernel.reads


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_the_chips_arithmetic_is_close_to_real_numbers(kernel: Kernel) -> None:
    rng = np.random.default_rng(7)
    n, fmt = 400, Format(8, 10)
    y, a, h = (fmt.round(rng.standard_normal(n)) for _ in range(3))
    c = fmt.round(rng.uniform(0, 1, n))
    chip = kernel.meaning(Arithmetic(Numerics(vector=fmt)), Operands(y, a, c, h))
    # The float model runs over sequences: one of one token, from the state before it.
    row, source, gates = (x[None, None].astype(np.float32) for x in (y, a, c))
    real = kernel.meaning(Reals(), Operands(row, source, gates[0, 0], h[None].astype(np.float32)))
    np.testing.assert_allclose(np.ravel(real), chip, rtol=4e-3, atol=4e-3)


def test_ports_that_a_kernel_does_not_read_do_not_matter() -> None:
    rng = np.random.default_rng(8)
    y, a, c, h = (rng.standard_normal(50) for _ in range(4))
    nan = np.full(50, np.nan)
    for kernel in KERNELS:
        given = Operands(
            y,
            a if Port.SOURCE in kernel.reads else nan,
            c if Port.GATES in kernel.reads else nan,
            h if Port.STATE in kernel.reads else nan,
        )
        assert np.isfinite(kernel.meaning(Arithmetic(Numerics()), given)).all(), kernel
