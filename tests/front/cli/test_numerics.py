"""`--numerics` of the verbs: presets, files, images that carry them, refusals."""

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.folders import VECTORS
from setun.backends import SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.cli import cli
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.models.load import load_model

IDS = ("--prompt-ids", "5,6,7", "-n", 24)


def invoke(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(a) for a in args])
    return result.exit_code, result.stdout, str(result.exception)


def tokens(model: Path, *args: object) -> list[int]:
    code, out, error = invoke("run", model, *IDS, *args, "--json")
    assert code == 0, error
    return json.loads(out)["tokens"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def model() -> Path:
    return VECTORS / "a_h64_l2"


def test_an_image_carries_its_numerics(model: Path, tmp_path: Path) -> None:
    """Import's choice is the default of the verbs that follow; theirs wins."""
    file = tmp_path / "m.setun"
    code, _, error = invoke("import", model, "-o", file, "--numerics", "fp8")
    assert code == 0, error
    plain, small = tokens(model), tokens(model, "--numerics", "fp8")
    assert plain != small
    assert tokens(file) == small
    assert tokens(file, "--numerics", "default") == plain
    # One option takes along what only made sense with the image's own.
    assert tokens(file, "--set", "activation=int8") == plain
    config = tmp_path / "config.toml"
    config.write_text(ChipConfig().to_toml())
    assert tokens(file, "--config", config) == plain


def test_a_chip_keeps_its_numerics(model: Path) -> None:
    """Which numerics a board has was decided when it was built."""
    image = load_model(model)
    base = ChipConfig(columns=8, rows=4, lanes=4)
    chip = SimulatedBackend(image, simulated_config(sized_for(image, base)))
    chip._serial.close()
    try:
        board = ("--backend", "serial", "--port", chip.chip.port, "--baud", chip.config.baud)
        code, _, error = invoke("run", model, *IDS, *board, "--numerics", "fp8")
        assert code != 0 and "must be those of the chip" in error and "int8" in error
        assert tokens(model, *board, "--numerics", "default") == tokens(model)
    finally:
        chip.close()


def test_a_file_of_numerics(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "n.toml"
    file.write_text('activation = "fp8"\naccumulate = 16\nmultiplier = "lmul"\nvector = [6, 9]\n')
    code, out, error = invoke(
        "generate",
        "-o",
        tmp_path / "out",
        "--numerics",
        file,
        "--set",
        "columns=8",
        "--set",
        "rows=4",
        "--set",
        "lanes=2",
        "--json",
    )
    assert code == 0, error
    written = tomllib.loads((tmp_path / "out" / "config.toml").read_text())
    asked = Numerics.from_dict(tomllib.loads(file.read_text())).to_dict()
    assert (
        {k: written[k] for k in asked} == asked == {k: json.loads(out)["config"][k] for k in asked}
    )
    # What was written is what --config takes.
    code, out, error = invoke(
        "generate", "-o", tmp_path / "again", "--config", tmp_path / "out" / "config.toml", "--json"
    )
    assert code == 0, error
    assert (tmp_path / "again" / "setun.v").read_text() == (
        tmp_path / "out" / "setun.v"
    ).read_text()


def test_a_board_with_numerics(tmp_path: Path) -> None:
    code, out, error = invoke(
        "build",
        "--board",
        "ulx3s-85f",
        "-o",
        tmp_path,
        "--dry-run",
        "--json",
        "--numerics",
        "lmul",
        "--set",
        "state_rounding=stochastic",
    )
    assert code == 0, error
    config = json.loads(out)["config"]
    assert (config["multiplier"], config["state_rounding"]) == ("lmul", "stochastic")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--numerics", "nowhere"], ("presets:", *PRESETS)),
        (["--set", "accumulate=64"], ("accumulate", "fp8")),
        (["--numerics", "fp8", "--set", "accumulate=8"], ("16 columns", "--set columns=8")),
        (["--numerics", "fp8", "--set", "accumulate=48"], ("power of two",)),
        (["--set", "multiplier=fast"], ("exact or lmul",)),
        (["--set", "state_mantissa=40"], ("4 to 16",)),
        (["--set", "state_seed=5"], ("stochastic",)),
        (["--set", "vector=[4, 9]"], ("exponent",)),
    ],
)
def test_refusals(tmp_path: Path, args: list[str], words: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    code, _, error = invoke(
        "generate", "-o", out, "--set", "columns=16", "--set", "rows=4", "--set", "lanes=4", *args
    )
    assert code != 0 and not out.exists()
    assert all(word in error for word in words), error
