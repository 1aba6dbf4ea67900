"""A vocabulary of more than 65,536 on a whole chip: tokens, prompts and ends beyond 16 bits."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from setun.backends import GoldenBackend, Sampling, SimulatedBackend
from setun.backends.simulated import simulated_config
from setun.cli import cli
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.file import save
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import check_fit, lay_out, sized_for
from setun.firmware.link import Command, identity
from setun.firmware.link.messages import Reason, Status
from setun.firmware.models.architecture import HGRN_BIT
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.models.fields import Fields
from setun.firmware.program.isa import MOST_TOKENS
from setun.firmware.program.verify import verify
from setun.models.random import random_checkpoint

pytestmark = pytest.mark.many_cycles

TOKENS = 131_072
BASE = ChipConfig(
    columns=32,
    rows=16,
    lanes=4,
    packing="1.6b",
    memory="axi4-256",
    contexts=2,
    clock_hz=100_000_000,
)


def model(tokens: int) -> Image:
    checkpoint = random_checkpoint(HGRN_BIT, HGRN_BIT.sized(tokens, 32, 1, 64), seed=1)
    return compile_checkpoint(checkpoint, "1.6b")


@pytest.fixture(scope="module")
def image() -> Image:
    return model(TOKENS)


@pytest.fixture(scope="module")
def chip(image: Image) -> Iterator[SimulatedBackend]:
    backend = SimulatedBackend(image, simulated_config(sized_for(image, BASE)))
    yield backend
    backend.close()


def test_tokens(chip: SimulatedBackend, image: Image) -> None:
    """Tokens on both sides of 65,536 are fed and sampled, in two conversations."""
    config = identity.decode(chip._serial.client.info())
    assert (config.token_bits, config.terminal) == (18, 0)
    prompt, seen = [TOKENS - 1, 5, 65_536, 65_535, 70_001], set()
    for context, sampling in enumerate((Sampling(), Sampling(temperature=2.0, seed=5))):
        golden = GoldenBackend(image, chip.config.numerics)
        wanted = list(golden.generate(prompt, 8, sampling))
        assert list(chip.start(prompt, 8, sampling, context)) == wanted
        seen |= set(wanted)
    assert min(seen) < 65_536 < max(seen)


def test_a_token_beyond_16_bits_ends_a_text(chip: SimulatedBackend, image: Image) -> None:
    """And one that is alike in its lower 16 bits does not."""
    sampling, prompt = Sampling(temperature=2.0, seed=5), [TOKENS - 1, 5, 65_536, 65_535, 70_001]
    wanted = list(GoldenBackend(image, chip.config.numerics).generate(prompt, 8, sampling))
    place = next(k for k, token in enumerate(wanted) if k and token > 65_536)
    end, client = wanted[place], chip._serial.client
    for known, count, reason in (
        (end, place + 1, Reason.END_OF_TEXT),
        (end & 0xFFFF, 8, Reason.COUNT),
    ):
        chip._serial._image = dataclasses.replace(image, end_tokens=(known,))
        assert list(chip.generate(prompt, 8, sampling)) == wanted[:count]
        assert client.last_done is not None and client.last_done.reason == reason
    chip._serial._image = image


def test_prompts_have_whole_tokens(chip: SimulatedBackend) -> None:
    client = chip._serial.client
    for size, status in ((2, 2), (6, 2), (240, 0), (4, 0)):
        client.reset()
        assert client._try(Command.PROMPT, bytes(size))[0] == Status(status), size
        client.read(3, 0, 1)


def test_the_largest_vocabulary(tmp_path: Path) -> None:
    """Its chip is that of a smaller one: no memory of it grows with the tokens."""
    needs = []
    for tokens in (TOKENS, MOST_TOKENS):
        large = model(tokens)
        file = tmp_path / f"{tokens}.setun"
        save(large, file)
        shape = ["--board=generic-axi4", "--set=columns=32", "--set=rows=16", "--set=lanes=4"]
        arguments = ["generate", "-o", str(tmp_path / "out"), "--model", str(file), "--json"]
        result = CliRunner().invoke(cli, [*arguments, *shape])
        assert result.exit_code == 0, str(result.exception)
        config = ChipConfig.from_dict(json.loads(result.stdout)["config"])
        assert lay_out(large, config).total * 4 <= config.memory_bytes
        result = CliRunner().invoke(
            cli, ["estimate", "--board", "generic-axi4", "--model", str(file), "--json"]
        )
        assert result.exit_code == 0, str(result.exception)
        needs.append(json.loads(result.stdout)["anywhere"])
    assert needs[0] == needs[1]


def test_a_chip_of_16_bit_tokens_has_no_room(image: Image) -> None:
    with pytest.raises(SetunError, match=r"must fit the chip \(.*token_bits 18 of 16"):
        check_fit(image, sized_for(image, BASE).override(token_bits=16))


def test_one_token_more_is_refused(image: Image) -> None:
    with pytest.raises(SetunError, match="vocab_size: must be a whole number from 1 to 262144"):
        HGRN_BIT.parse_config(Fields({"vocab_size": MOST_TOKENS + 1}))
    with pytest.raises(SetunError, match="vocabulary: must have at most 262144 tokens"):
        verify(dataclasses.replace(image, vocab_size=MOST_TOKENS + 1), "image")
