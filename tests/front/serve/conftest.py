"""What several tests serve."""

from collections.abc import Iterator

import pytest

from front.serve.serving import Served, served
from setun.firmware.image.image import Image
from setun.models.load import load_model


@pytest.fixture(scope="session")
def image() -> Image:
    return load_model("shakespeare-small")


@pytest.fixture(scope="module")
def golden(image: Image) -> Iterator[Served]:
    with served(image) as server:
        yield server
