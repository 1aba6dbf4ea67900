"""The whole chip behind its mailbox, through the client that a processor runs."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serial
from click.testing import CliRunner
from safetensors.numpy import save_file

from hw.chip.processor import Board, BusRegisters
from hw.chip.test_chip import MODELS, Case, check_generation, image
from setun.backends.loading import differing, load, loaded_hash
from setun.cli import cli
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import Space, Words, lay_out
from setun.firmware.link import ChipClient, mapped
from setun.firmware.link.identity import decode
from setun.firmware.link.mailbox import MailboxPort
from setun.firmware.models.architecture import find
from setun.hw.emit.conversion import to_verilog
from setun.models.random import random_checkpoint
from setun.sim.memories.bulk import bulk_verilog
from setun.sim.memories.kinds import memory_model
from setun.sim.simulator import SimulatedChip, compile_chip
from setun.sim.simulator.dot import dot_verilog

pytestmark = pytest.mark.many_cycles
SEED = 0x5EED_0063


@contextmanager
def board(config: ChipConfig) -> Iterator[Callable[[str], MailboxPort]]:
    """A blank chip behind its mailbox; gives what opens that, one at a time."""
    print(f"seed of the pauses {SEED:#x}")
    text = to_verilog(Board(config, SEED), "setun") + dot_verilog(config.columns)
    words = memory_model(config).words(config)
    text += "" if words is None else bulk_verilog(*words)
    with SimulatedChip(compile_chip(text, "setun", config.divisor)) as chip:

        def opened(name: str) -> MailboxPort:
            return MailboxPort(BusRegisters(serial.Serial(chip.port, config.baud)), name)

        yield opened


TINY = "tiny"  # each byte of a model is two accesses of the simulated bus
ONCHIP = Case(TINY, 16, 8, 8, contexts=2)
OUTSIDE = Case(TINY, 16, 8, 8, "1.6b", memory="axi4-64")


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model of random weights, as small as the chip's words allow, among those of `Case`."""
    folder = tmp_path_factory.mktemp("models") / TINY
    family = find("hgrn_bit")
    config = family.sized(40, 32, 1, 32)
    folder.mkdir()
    save_file(dict(random_checkpoint(family, config, seed=4).tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(family.config_fields(config)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, TINY, folder)
        yield folder


def config_of(case: Case) -> ChipConfig:
    return case.config().override(terminal=0, mailbox=1)


def test_a_model_through_the_mailbox() -> None:
    """A blank chip takes a model in, and every token and state bit is the golden model's."""
    config = config_of(ONCHIP)
    layout = lay_out(image(TINY), config)
    with board(config) as opened, opened("axi:/dev/uio0") as port:
        client = ChipClient(port)
        assert decode(client.info()) == config
        load(client, layout)
        assert not differing(client, layout, weights=True)
        assert loaded_hash(client, config) == image(TINY).model_hash
        assert client.transport.refusals == client.transport.resent == 0
        for temperature in (None, 0.8):
            check_generation(client, TINY, config, 24, temperature)


def test_commands_through_the_mailbox(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load and run as on a serial port."""
    run = ["run", str(tiny), "--prompt-ids", "3,1,4", "-n", "12", "--seed", "5", "--json"]
    with board(config_of(ONCHIP)) as opened:
        monkeypatch.setattr(mapped, "open_mailbox", opened)
        asked = ["load", str(tiny), "--port", "axi:/dev/uio0", "--json"]
        told = [CliRunner().invoke(cli, asked) for _ in range(2)]
        assert [json.loads(each.stdout)["written"] for each in told] == [True, False]
        made = CliRunner().invoke(cli, [*run, "--backend", "axi", "--port", "/dev/uio0"])
    golden = CliRunner().invoke(cli, run)
    assert json.loads(made.stdout)["tokens"] == json.loads(golden.stdout)["tokens"]


class Backdoor:
    """The chip's memory, reached without what is under test; may spoil a bit of each run."""

    def __init__(self, client: ChipClient, spoil: int = 0) -> None:
        self.client, self.spoil, self.filled = client, spoil, 0

    def fill(self, first: int, words: Words, /) -> None:
        self.filled += 4 * len(words)
        changed = words.copy()
        changed[-1] ^= self.spoil
        self.client.write(Space.WEIGHTS, first // 4, changed)


@pytest.mark.slow
def test_a_model_put_beside_the_mailbox() -> None:
    """The memory is written directly, and the chip asked for its CRC."""
    config = config_of(OUTSIDE)
    layout = lay_out(image(TINY), config)
    with board(config) as opened, opened("axi:/dev/uio0") as port:
        client = ChipClient(port, timeout=30)  # a word of that memory takes 60 cycles
        with pytest.raises(SetunError, match="weights memory: must read back with CRC"):
            load(client, layout, memory=Backdoor(client, spoil=1))
        assert loaded_hash(client, config) is None
        memory = Backdoor(client)
        load(client, layout, memory=memory)
        assert 0 <= 4 * layout.size(Space.WEIGHTS) - memory.filled <= 64
        assert loaded_hash(client, config) == image(TINY).model_hash
        check_generation(client, TINY, config, 24, 0.8)
