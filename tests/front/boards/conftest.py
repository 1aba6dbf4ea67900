"""A simulated chip behind a port that can be unplugged, and models with text for it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bench.folders import VECTORS
from setun.backends import SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.image import file as image_file
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import requirements
from setun.firmware.numerics.options import Numerics
from setun.models.load import load_model

LETTERS = [chr(c) for c in range(ord(" "), ord("~") + 1)] + ["\n"]


def tokenizer_json(vocabulary: int, known: list[str] = LETTERS) -> str:
    """Single characters: those that can be typed, then others up to the vocabulary's size."""
    letters = known + [chr(0x4E00 + k) for k in range(vocabulary - len(known))]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {c: k for k, c in enumerate(letters)},
        "merges": [],
    }
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": None,
            "post_processor": None,
            "decoder": {"type": "Fuse"},
            "model": model,
        }
    )


@dataclass
class Socket:
    """A port's path that leads to one chip, another, or nowhere."""

    path: Path
    image: Image
    config: ChipConfig
    chips: list[SimulatedBackend] = field(default_factory=list)

    def plug(self, image: Image | None = None) -> None:
        """A chip fresh from power-on behind the path, with `image` in its bitstream."""
        backend = SimulatedBackend(image or self.image, self.config)
        backend._serial.close()
        self.chips.append(backend)
        self.path.symlink_to(backend.chip.port)

    def unplug(self) -> None:
        self.path.unlink(missing_ok=True)
        for backend in self.chips:
            backend.chip.close()
        self.chips.clear()


@pytest.fixture(scope="session")
def images() -> dict[str, Image]:
    """Two models with text that one chip holds."""
    names = {"a": "a_h64_l2", "d": "d_h64_l3_nolb"}
    loaded = {k: load_model(VECTORS / v) for k, v in names.items()}
    return {
        k: replace(image, tokenizer_json=tokenizer_json(image.vocab_size))
        for k, image in loaded.items()
    }


@pytest.fixture(scope="session")
def files(images: dict[str, Image], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same models as image files."""
    folder = tmp_path_factory.mktemp("models")
    for name, image in images.items():
        image_file.save(image, folder / f"{name}.setun", Numerics())
    return {name: str(folder / f"{name}.setun") for name in images}


@pytest.fixture(scope="session")
def config(images: dict[str, Image]) -> ChipConfig:
    """The small chip of `tests/front/backends/test_backends.py`, which either model fits."""
    base = ChipConfig(columns=8, rows=4, lanes=4)
    needs = [requirements(image, base) for image in images.values()]
    return simulated_config(base.override(**{k: max(n[k] for n in needs) for k in needs[0]}))


@pytest.fixture
def socket(images: dict[str, Image], config: ChipConfig, tmp_path: Path) -> Iterator[Socket]:
    """A chip with model a, plugged in."""
    socket = Socket(tmp_path / "ttyCHIP", images["a"], config)
    socket.plug()
    yield socket
    socket.unplug()
