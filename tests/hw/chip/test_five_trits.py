"""Chips whose head has five-trit weights: every token equal to the golden model's."""

from typing import Any

import numpy as np
import pytest

from setun.backends import GoldenBackend, Sampling, SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import check_fit, sized_for
from setun.firmware.link import identity
from setun.firmware.models.architecture import HGRN_BIT
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.options import PRESETS
from setun.firmware.program.builder import FIVE_TRITS
from setun.models.random import random_checkpoint

pytestmark = pytest.mark.many_cycles

CHIPS: dict[str, dict[str, Any]] = {
    "onchip": {"columns": 16, "rows": 8, "lanes": 4},
    "axi4, contexts": {
        "columns": 16,
        "rows": 8,
        "lanes": 4,
        "memory": "axi4-64",
        "packing": "1.6b",
        "contexts": 4,
    },
    "contexts": {"columns": 16, "rows": 4, "lanes": 4, "packing": "1.6b", "contexts": 2},
    "fp8": {"columns": 16, "rows": 4, "lanes": 2, "numerics": PRESETS["fp8"], "memory": "sdram-16"},
    "lmul, pump": {"columns": 32, "rows": 8, "lanes": 2, "pump": 2, "numerics": PRESETS["lmul"]},
    "qspi": {"columns": 16, "rows": 4, "lanes": 1, "memory": "qspi", "packing": "1.6b"},
    "spram": {"columns": 16, "rows": 4, "lanes": 4, "memory": "spram", "packing": "1.6b"},
}
QUICK = {"onchip", "axi4, contexts"}


def model(vocabulary: int = 77, hidden: int = 48) -> Image:
    """Sizes that fill neither row groups nor blocks."""
    config = HGRN_BIT.sized(vocabulary, hidden, 1, 64)
    return compile_checkpoint(random_checkpoint(HGRN_BIT, config, seed=3), head=FIVE_TRITS)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CHIPS]
)
def test_tokens(name: str) -> None:
    image = model()
    config = sized_for(image, ChipConfig(**CHIPS[name]))
    chip = SimulatedBackend(image, simulated_config(config))
    try:
        told = identity.decode(chip._serial.client.info())
        assert told == chip.config and told.five_trits == 1
        samplings = [Sampling(), *(Sampling(temperature=1.5, seed=k) for k in range(3))]
        wanted, begun = [], []
        for context, sampling in enumerate(samplings[: max(2, config.contexts)]):
            golden = GoldenBackend(image, config.numerics)
            wanted.append(list(golden.generate([3, 1, 4, context], 12, sampling)))
            started = chip.start([3, 1, 4, context], 12, sampling, context % config.contexts)
            begun.append(started if config.contexts > 1 else iter(list(started)))
        assert [list(tokens) for tokens in begun] == wanted
        assert len(set(np.concatenate(wanted))) > 12
    finally:
        chip.close()


def test_a_chip_without_does_not_fit() -> None:
    image = model()
    config = sized_for(image, ChipConfig(columns=16, rows=8, lanes=4))
    with pytest.raises(SetunError, match="five_trits 1 of 0"):
        check_fit(image, config.override(five_trits=0))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"five_trits": 2}, "five_trits: must be 0 or 1; found 2"),
        ({"five_trits": 1, "columns": 8}, "five_trits: need columns enough for 8 scales in 128"),
    ],
)
def test_configurations_refused(options: dict[str, int], line: str) -> None:
    with pytest.raises(SetunError, match=line):
        ChipConfig(**options)  # type: ignore[arg-type]
