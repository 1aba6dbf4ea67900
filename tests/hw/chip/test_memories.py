"""Whole chips on quad SPI flash and on single-port RAM: tokens, loads over the link, refusals."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from setun.backends import GoldenBackend, Sampling, SerialBackend, SimulatedBackend
from setun.backends.loading import load
from setun.backends.simulated import simulated_config
from setun.cli import cli
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.file import save
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, lay_out, sized_for
from setun.firmware.link import identity
from setun.hw.chip import Chip
from setun.hw.memory.controllers.spram import BLOCKS
from setun.models.random import random_image

pytestmark = pytest.mark.many_cycles

SHAPE = (64, 1, 128)  # hidden, layers, intermediate: three sectors of flash
IMAGES = [random_image(SHAPE, seed) for seed in (1, 2)]
CHIPS: dict[str, dict[str, Any]] = {
    "qspi": {"memory": "qspi", "packing": "1.6b", "part": "IS25LP128F", "flash_base": 1 << 20},
    "spram": {"memory": "spram"},
    "sdram-16x2": {"memory": "sdram-16x2", "packing": "1.6b", "clock_hz": 60_000_000},
    "spram-1.6b": {"memory": "spram", "packing": "1.6b"},
}
SLOW = {"spram-1.6b"}


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in CHIPS],
)
def chip(request: pytest.FixtureRequest) -> Iterator[SimulatedBackend]:
    base = ChipConfig(columns=8, rows=4, lanes=4, **CHIPS[request.param])
    backend = SimulatedBackend(IMAGES[0], simulated_config(sized_for(IMAGES[0], base)))
    yield backend
    backend.close()


def check(backend: SimulatedBackend | SerialBackend, image: Image) -> None:
    """Tokens and state as golden's, greedy and not."""
    for prompt, sampling in (([3, 1, 4], Sampling()), ([2], Sampling(temperature=0.9, seed=5))):
        golden = GoldenBackend(image, backend.config.numerics)
        wanted = list(golden.generate(prompt, 8, sampling))
        assert list(backend.generate(prompt, 8, sampling)) == wanted
        assert np.array_equal(backend.state(), golden.model.state)


def connect(chip: SimulatedBackend, image: Image) -> tuple[SerialBackend, bool]:
    """The chip as a board's host finds it; whether `image` was loaded."""
    chip._serial.close()
    loads: list[int] = []
    board = SerialBackend(
        image, chip.chip.port, baud=chip.config.baud, progress=lambda done, of: loads.append(done)
    )
    chip._serial = board
    return board, bool(loads)


def test_tokens(chip: SimulatedBackend) -> None:
    assert identity.decode(chip._serial.client.info()) == chip.config
    check(chip, IMAGES[0])
    # No more than the model is read: nothing is owed when the next token begins.
    bound = lay_out(IMAGES[0], chip.config).spaces[Space.WEIGHTS].size * 32
    assert chip.cycles_per_token is not None
    assert chip.cycles_per_token < bound / chip.config.weight_port + 1500


def test_another_model_over_the_link(chip: SimulatedBackend) -> None:
    for image in reversed(IMAGES):
        board, loaded = connect(chip, image)
        assert loaded
        check(board, image)
    assert not connect(chip, IMAGES[0])[1]


def test_weights_that_are_not_there_are_noticed(chip: SimulatedBackend) -> None:
    """What names the model is there, and something behind it is of another day."""
    board, _ = connect(chip, IMAGES[0])
    layout = lay_out(IMAGES[0], chip.config)
    words, place = layout.spaces[Space.WEIGHTS], 2 * max(layout.sector, 64)
    board.client.write(Space.WEIGHTS, place, words[place:][:1] ^ 1, sector=layout.sector)
    board, loaded = connect(chip, IMAGES[0])
    assert loaded
    check(board, IMAGES[0])


def test_a_damaged_model_is_a_fault(chip: SimulatedBackend) -> None:
    """In the middle of a token, and of none before or behind: the link answers all the while."""
    board, _ = connect(chip, IMAGES[0])
    layout = lay_out(IMAGES[0], chip.config)
    grain = layout.sector or 64
    start = len(layout.spaces[Space.WEIGHTS]) // 3 // grain * grain  # before embedding and head
    blank = np.zeros(max(layout.sector, 512), np.uint32)
    board.client.write(Space.WEIGHTS, start, blank, sector=layout.sector)
    for _ in range(2):
        with pytest.raises(SetunError, match="reason 3 \\(fault\\)"):
            list(board.generate([3, 1, 4], 8, Sampling()))
        assert identity.decode(board.client.info()) == chip.config
    board, loaded = connect(chip, IMAGES[0])
    assert loaded
    check(board, IMAGES[0])


def test_a_flash_that_holds_the_weights_is_not_erased(chip: SimulatedBackend) -> None:
    board, _ = connect(chip, IMAGES[0])
    written, write_words = [], board.client.write

    def watched(space: int, *given: Any, **options: Any) -> list[tuple[int, int]]:
        written.append(space)
        return write_words(space, *given, **options)

    board.client.write = watched  # type: ignore[method-assign]
    load(board.client, lay_out(IMAGES[0], chip.config))
    assert Space.TEXT in written or not chip.config.terminal
    assert (Space.WEIGHTS in written) == (chip.config.memory != "qspi")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory": "flash"}, "memory: must be one of .*qspi, spram"),
        ({"memory": "spram", "part": "W25Q32JV"}, "part: names an SDRAM or a flash"),
        ({"flash_base": 100}, "flash_base: must be a multiple of 4096 bytes below 16777216"),
        ({"flash_base": 1 << 24}, "flash_base"),
    ],
)
def test_configurations_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SetunError, match=said):
        ChipConfig(**change)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory": "qspi", "part": "W25Q1"}, "part: must be one of W25Q32JV, .* quad SPI flash"),
        ({"memory": "qspi", "part": "IS42S16160-7"}, "part: must be one of W25Q32JV"),
        ({"memory": "qspi", "part": "W25Q32JV", "flash_base": 4 << 20}, "qspi memory of 0 bytes"),
        (
            {"memory": "qspi", "part": "W25Q32JV", "flash_base": 2 << 20, "memory_bytes": 1 << 22},
            "qspi memory of 2097152 bytes",
        ),
        ({"memory": "qspi", "part": "IS25LP128F", "clock_hz": 161_000_000}, "160 MHz"),
        ({"memory": "spram", "memory_bytes": 131136}, "spram memory of 131072 bytes"),
    ],
)
def test_chips_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SetunError, match=said) as found:
        Chip(ChipConfig(**change))
    assert "\n" not in str(found.value)
    del found
    gc.collect()  # while Amaranth's warning of a component never used is filtered


def test_a_model_that_the_memory_lacks_room_for() -> None:
    image = random_image("random-128x2")
    config = sized_for(image, ChipConfig(columns=8, rows=4, lanes=4, memory="spram"))
    with pytest.raises(SetunError, match="must fit the spram memory of 131072 bytes; found 160768"):
        SimulatedBackend(image, simulated_config(config))


def test_generate_for_an_ultraplus(tmp_path: Path) -> None:
    model, out = tmp_path / "M.setun", tmp_path / "out"
    save(IMAGES[0], model)
    settings = [f"--set={key}" for key in ("memory=spram", "columns=8", "rows=4", "lanes=1")]
    arguments = [
        "generate",
        "-o",
        str(out),
        "--model",
        str(model),
        "--technology",
        "ice40",
        "--json",
    ]
    result = CliRunner().invoke(cli, [*arguments, *settings])
    assert result.exit_code == 0, str(result.exception)
    assert set(json.loads(result.stdout)["ports"]) == {"clk", "rst", "rx", "tx"}
    assert (out / "setun.v").read_text().count("SB_SPRAM256KA") == BLOCKS
    config = ChipConfig.from_dict(json.loads(result.stdout)["config"])
    weights = lay_out(IMAGES[0], config).spaces[Space.WEIGHTS]
    assert (out / "weights.bin").read_bytes() == weights.astype("<u4").tobytes()


def test_a_slow_clock_keeps_its_uart() -> None:
    slow = simulated_config(ChipConfig(memory="spram", clock_hz=24_000_000))
    assert (slow.clock_hz, slow.divisor) == (24_000_000, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("qspi", 0.999), ("spram", 0.96)])
def test_bench(name: str, least: float) -> None:
    result = CliRunner().invoke(cli, ["bench", "--config", name, "-n", "2", "--json"])
    assert result.exit_code == 0, str(result.exception)
    (row,) = json.loads(result.stdout)
    assert row["config"] == name and row["roofline_fraction"] > least
