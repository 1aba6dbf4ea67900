"""Backends: the same tokens everywhere, models swapped over the link, broken loads and ports."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from bench.folders import VECTORS
from front.damage import damage_writes
from setun.backends import Backend, GoldenBackend, Sampling, SerialBackend, SimulatedBackend
from setun.backends.loading import load
from setun.backends.simulated import simulated_config
from setun.firmware.config import CONTEXTS, ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, lay_out, requirements
from setun.firmware.link import identity
from setun.firmware.link.messages import MAX_INFO, Reason
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.firmware.program.isa import WORDS
from setun.hw.emit.resources import block_ram, check_block_ram
from setun.hw.fpga.families import ECP5
from setun.models.load import load_model
from setun.talk.session import Result, prompt_ids, stream

pytestmark = pytest.mark.many_cycles

NUMERICS = Numerics()


NAMES = {"a": "a_h64_l2", "d": "d_h64_l3_nolb"}


@pytest.fixture(scope="module")
def images() -> dict[str, Image]:
    return {k: load_model(VECTORS / v) for k, v in NAMES.items()}


def chip_of_either() -> ChipConfig:
    """A small chip that either model fits."""
    base = ChipConfig(columns=8, rows=4, lanes=4)
    needs = [requirements(load_model(VECTORS / name), base) for name in NAMES.values()]
    return simulated_config(base.override(**{k: max(n[k] for n in needs) for k in needs[0]}))


@pytest.fixture(scope="module")
def config() -> ChipConfig:
    return chip_of_either()


@pytest.fixture
def chip(images: dict[str, Image], config: ChipConfig) -> Iterator[SimulatedBackend]:
    backend = SimulatedBackend(images["a"], config)
    yield backend
    backend.close()


def port_of(chip: SimulatedBackend) -> str:
    """The running chip's port, given up by the backend that opened it."""
    chip._serial.close()
    return chip.chip.port


def tokens(backend: Backend, prompt: list[int], count: int, sampling: Sampling) -> list[int]:
    return list(backend.generate(prompt, count, sampling))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.9, seed=5)])
def test_chip_equals_golden_state_included(
    images: dict[str, Image], chip: SimulatedBackend, sampling: Sampling
) -> None:
    golden = GoldenBackend(images["a"], NUMERICS)
    for prompt in ([3, 1, 4], [200]):  # the second run starts from a fresh state
        assert tokens(chip, prompt, 12, sampling) == tokens(golden, prompt, 12, sampling)
        assert np.array_equal(chip.state(), golden.model.state)
    assert chip.cycles_per_token and chip.cycles_per_token > 0


def test_a_text_ends_on_the_chip_too(images: dict[str, Image], config: ChipConfig) -> None:
    """Its state has read no token behind the end; of five ends the core knows four."""
    prompt = [40, 41]
    said = tokens(GoldenBackend(images["a"], NUMERICS), prompt, 12, Sampling(ignore_eos=True))
    end = next(token for token in said[2:] if token not in said[:2])
    with contextlib.closing(SimulatedBackend(images["a"], config)) as chip:
        for ends in ((end,), (250, 251, 252, 253, end)):
            image = replace(images["a"], end_tokens=ends)
            chip._serial._image = image
            golden = GoldenBackend(image, NUMERICS)
            expected = tokens(golden, prompt, 12, Sampling())
            assert expected == said[: said.index(end) + 1]
            assert tokens(chip, prompt, 12, Sampling()) == expected
            done = chip._serial.client.last_done
            assert done is not None and done.reason == Reason.END_OF_TEXT
            assert done.tokens == len(expected) and chip._serial.client.knows_ends
            if len(ends) == 1:
                assert np.array_equal(chip.state(), golden.model.state)
            assert tokens(chip, prompt, 12, Sampling(ignore_eos=True)) == said


def test_contexts_apart_and_a_host_that_went_away(
    images: dict[str, Image], config: ChipConfig
) -> None:
    golden = [GoldenBackend(images["a"], NUMERICS) for _ in range(2)]
    chip = SimulatedBackend(images["a"], config.override(contexts=2), context=1)
    try:
        greedy, warm = Sampling(), Sampling(temperature=0.9, seed=5)
        assert tokens(chip, [3, 1], 6, warm) == tokens(golden[1], [3, 1], 6, warm)
        assert np.array_equal(chip.state(1), golden[1].model.state)
        assert not chip.state(0).any()
        # The second of two conversations under way is read first.
        streams = [chip.start([200], 9, greedy, 0), chip.start([7, 8], 5, warm, 1)]
        assert list(streams[1]) == tokens(golden[1], [7, 8], 5, warm)
        assert list(streams[0]) == tokens(golden[0], [200], 9, greedy)
        for k in range(2):
            assert np.array_equal(chip.state(k), golden[k].model.state)
        with pytest.raises(SetunError, match="context: must be from 0 to 1; found 2"):
            chip.start([1], 1, greedy, 2)
        unread = [chip.start([1], 60_000, greedy, k) for k in range(2)]
        assert [next(stream) for stream in unread] == 2 * tokens(golden[0], [1], 1, greedy)
        for k in (2, -1):
            with pytest.raises(SetunError, match="context: must be from 0 to 1"):
                SerialBackend(images["a"], port_of(chip), baud=chip.config.baud, context=k)
        board = SerialBackend(images["a"], port_of(chip), baud=chip.config.baud, context=1)
        assert tokens(board, [1], 4, greedy) == tokens(golden[1], [1], 4, greedy)
        board.close()
    finally:
        chip.close()


def test_another_model_over_the_link(images: dict[str, Image], chip: SimulatedBackend) -> None:
    """The chip that was compiled with one model runs a second one, then the first again."""
    greedy = Sampling()
    port = port_of(chip)
    for name in ("d", "a"):
        seen: list[tuple[int, int]] = []
        board = SerialBackend(
            images[name],
            port,
            baud=chip.config.baud,
            progress=lambda n, of, seen=seen: seen.append((n, of)),  # type: ignore[misc]
        )
        golden = GoldenBackend(images[name], NUMERICS)
        assert tokens(board, [7, 8], 8, greedy) == tokens(golden, [7, 8], 8, greedy)
        assert np.array_equal(board.state(), golden.model.state)
        assert seen[-1][0] == seen[-1][1] > 0
        board.close()
        again = SerialBackend(
            images[name],
            port,
            baud=chip.config.baud,
            progress=lambda n, of: pytest.fail("loaded twice"),
        )
        again.close()


def test_load_cut_short_leaves_a_chip_that_refuses(
    images: dict[str, Image], chip: SimulatedBackend
) -> None:
    board = SerialBackend(images["a"], port_of(chip), baud=chip.config.baud)

    class Cut(Exception):
        pass

    def cut(done: int, total: int) -> None:
        if done > total // 3:
            raise Cut

    layout = lay_out(images["d"], board.config)
    with pytest.raises(Cut):
        load(board.client, layout, cut)
    with pytest.raises(SetunError, match="reason 3"):
        tokens(board, [1], 4, Sampling())
    load(board.client, layout)
    golden = GoldenBackend(images["d"], NUMERICS)
    assert tokens(board, [1], 4, Sampling()) == tokens(golden, [1], 4, Sampling())
    board.close()


def test_damaged_memory_is_found_by_its_crc(
    images: dict[str, Image], chip: SimulatedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = SerialBackend(images["a"], port_of(chip), baud=chip.config.baud)
    damage_writes(monkeypatch, Space.GATES)
    with pytest.raises(SetunError, match="gates memory: must read back with CRC"):
        load(board.client, lay_out(images["a"], board.config))
    board.close()


def test_port_that_closes_mid_stream(images: dict[str, Image], config: ChipConfig) -> None:
    backend = SimulatedBackend(images["a"], config)
    stream_of = backend.generate([1], 500, Sampling())
    next(stream_of)
    backend.chip.close()
    with pytest.raises(SetunError):
        list(stream_of)
    backend.close()


def test_wrong_token_is_reported(images: dict[str, Image]) -> None:
    class Other:
        cycles_per_token = clock_hz = None
        positions = 0

        def generate(self, prompt, count, sampling):  # type: ignore[no-untyped-def]
            golden = GoldenBackend(images["a"], NUMERICS)
            yield from (t ^ 1 for t in golden.generate(prompt, 3, sampling))

        def close(self) -> None: ...

    result = Result()
    with pytest.raises(SetunError, match="token 0: must equal the golden model's"):
        list(stream(images["a"], Other(), NUMERICS, [1], 3, Sampling(), result))
    assert result.golden_match is False


def test_prompts(images: dict[str, Image]) -> None:
    image = images["a"]
    assert prompt_ids(image, None, "1, 2,255") == [1, 2, 255]
    for ids, word in (("1,x", "whole numbers"), ("256", "from 0 to 255"), ("-1", "from 0")):
        with pytest.raises(SetunError, match=word):
            prompt_ids(image, None, ids)
    with pytest.raises(SetunError, match="needs a tokenizer"):
        prompt_ids(image, "text", None)
    demo = load_model("shakespeare")
    with pytest.raises(SetunError, match="position 3"):
        prompt_ids(demo, "to €", None)
    with pytest.raises(SetunError, match="at least one token"):
        prompt_ids(demo, "", None)


@pytest.mark.parametrize("temperature", [-1.0, 1e-9, 1e9, float("nan")])
def test_temperature_out_of_range(temperature: float) -> None:
    with pytest.raises(SetunError, match="temperature"):
        Sampling(temperature=temperature)


@pytest.mark.parametrize("contexts", CONTEXTS)
def test_identity_round_trip(config: ChipConfig, contexts: int) -> None:
    config = config.override(contexts=contexts)
    record = identity.encode(config)
    assert identity.decode(record) == config
    assert ChipConfig.from_dict(config.to_dict()) == config
    for position in range(len(record)):
        damaged = bytearray(record)
        damaged[position] ^= 1
        with pytest.raises(SetunError):
            identity.decode(bytes(damaged))
    with pytest.raises(SetunError):
        identity.decode(record[:-1])


@pytest.mark.parametrize("preset", PRESETS)
def test_identity_tells_the_numerics(config: ChipConfig, preset: str) -> None:
    config = config.override(numerics=PRESETS[preset])
    assert identity.decode(identity.encode(config)) == config


def test_identity_of_other_versions(config: ChipConfig) -> None:
    """Version 4 had no pump; from 5 on, chips without and with a terminal, and with streams."""
    plain = config.override(terminal=0)
    assert identity.encode(plain)[0] == 5 and identity.decode(identity.encode(plain)) == plain
    record = identity.encode(config)
    assert len(record) <= MAX_INFO and record[0] == 6
    with pytest.raises(SetunError, match="own hash"):
        identity.decode(bytes((5,)) + record[1:])
    pump = 1 + 8 + 2
    place = pump + 4
    assert (record[pump], record[place]) == (config.pump, config.contexts)
    older = bytes((4,)) + record[1:pump] + record[pump + 1 :]
    for version, found in ((older, 4), (bytes((4,)) + record[1:], 4), (bytes((7,)) + record, 7)):
        with pytest.raises(SetunError, match=f"5 to 131; found .* version {found} .*release"):
            identity.decode(version)
    with pytest.raises(SetunError, match="0 bytes, version none"):
        identity.decode(b"")
    for contexts in (0, 3, 255):
        damaged = record[:place] + bytes((contexts,)) + record[place + 1 :]
        with pytest.raises(SetunError, match="contexts: must be 1, 2 or 4"):
            identity.decode(damaged)
    for times in (0, 3):
        damaged = record[:pump] + bytes((times,)) + record[pump + 1 :]
        with pytest.raises(SetunError, match="pump: must be 1 or 2"):
            identity.decode(damaged)


def test_model_that_does_not_fit(images: dict[str, Image], config: ChipConfig) -> None:
    with pytest.raises(SetunError, match=r"weight_words \d+ of 10, .*instructions \d+ of 3"):
        lay_out(images["a"], config.override(weight_words=10, instructions=3))
    need = sum(block_ram(config, ECP5).values())
    with pytest.raises(SetunError, match=f"needs {need} of 5 blocks of RAM"):
        check_block_ram(config, ECP5, {"block_ram": 5}, "tiny")
    check_block_ram(config, ECP5, {"block_ram": need}, "enough")


def test_program_words_start_with_the_hash(images: dict[str, Image], config: ChipConfig) -> None:
    program = lay_out(images["a"], config).spaces[Space.PROGRAM]
    raw = program[1:WORDS].astype("<u4").tobytes()
    assert raw.hex() == images["a"].model_hash
