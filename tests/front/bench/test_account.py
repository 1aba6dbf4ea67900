"""Models cut behind a layer, by which `setun bench --account` tells layers apart."""

import numpy as np
import pytest

from setun.bench.account import shallow
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import lay_out, sized_for
from setun.firmware.numerics.options import Numerics
from setun.firmware.program.verify import verify
from setun.models.random import random_image
from setun.sim.golden import GoldenModel

LAYERS = 3
IMAGE = random_image((32, LAYERS, 64))
TOKENS = (5, 60, 0, 7)


def test_all_layers_are_the_model_itself() -> None:
    whole = shallow(IMAGE, LAYERS)
    assert whole.model_hash == IMAGE.model_hash and whole.program == IMAGE.program


@pytest.mark.parametrize("layers", range(1, LAYERS))
def test_states_of_the_layers_left_are_the_models(layers: int) -> None:
    cut, whole = (GoldenModel(image, Numerics()) for image in (shallow(IMAGE, layers), IMAGE))
    for token in TOKENS:
        cut.feed(token)
        whole.feed(token)
    assert cut.state.any()
    left = slice(0, IMAGE.memory.state[layers].start)
    assert np.array_equal(cut.state[left], whole.state[left])
    assert not cut.state[left.stop :].any()
    assert not np.array_equal(cut.logits(), whole.logits())


@pytest.mark.parametrize("layers", range(1, LAYERS))
def test_a_chip_for_the_model_holds_it(layers: int) -> None:
    image = shallow(IMAGE, layers)
    verify(image, "cut model")
    lay_out(image, sized_for(IMAGE, ChipConfig()))
