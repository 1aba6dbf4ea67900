"""The small chip, compiled, behind its serial port: every token and state bit as golden's."""

import zlib

import numpy as np
import pytest

from bench.folders import SMALL_DEMO
from hw.chip import test_chip as chips
from setun.firmware.config import ChipConfig
from setun.firmware.core_kinds import SMALL
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import Space, lay_out, sized_for
from setun.firmware.link import ChipClient, Reason, open_port
from setun.firmware.link.identity import decode
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.firmware.numerics.ternary import unpack_trits
from setun.hw.cores import core_gateware
from setun.hw.small.addresses import first_state
from setun.hw.small.array import ROWS, decoded
from setun.hw.small.microcode import WORD, WORDS, microprogram
from setun.hw.small.words import Next, Scalar, Source, To
from setun.models.load import load_model
from setun.sim.golden import GoldenModel
from setun.sim.memories.system import system_verilog
from setun.sim.simulator import SimulatedChip, compile_chip

pytestmark = pytest.mark.many_cycles
MODEL = "shakespeare-small"
OPTIONS = {
    "columns": 1,
    "rows": SMALL.rows,
    "lanes": 1,
    "packing": "1.6b",
    "memory": "spram-16",
    "clock_hz": 12_000_000,
    "baud": 3_000_000,
}
chips.MODELS[MODEL] = SMALL_DEMO


def config(exponent: int = 6, mantissa: int = 9) -> ChipConfig:
    numerics = Numerics(vector=Format(exponent, mantissa))
    return sized_for(load_model(MODEL), ChipConfig(**OPTIONS, numerics=numerics))


@pytest.mark.parametrize("temperature", [None, chips.TEMPERATURE])
def test_generation(temperature: float | None) -> None:
    with chips.running(config(), MODEL) as client:
        assert decode(client.info()) == config()
        assert client.counters() == []
        chips.check_generation(client, MODEL, config(), 12, temperature)


def test_sum_of_squares_of_rows() -> None:
    """Too small a part of a norm to be seen in its scale: compared where it is kept."""
    golden = GoldenModel(load_model(MODEL), config().numerics)
    place_of = first_state(config()) - len(Scalar) + Scalar.ROW_SQUARES
    with chips.running(config(), MODEL) as client:
        for token in chips.tokens_of(MODEL, 6):
            golden.feed(token)
            client.prompt([token])
            found = int(client.read(Space.VECTOR, place_of, 1)[0])
            assert found == int(config().vector.to_bits(golden._of_rows)[0])


@pytest.mark.slow
@pytest.mark.parametrize("fmt", [(6, 9), (8, 7), (5, 8)])
def test_long_generation(fmt: tuple[int, int]) -> None:
    with chips.running(config(*fmt), MODEL) as client:
        chips.check_generation(client, MODEL, config(*fmt), 64, None)
        chips.check_generation(client, MODEL, config(*fmt), 64, chips.TEMPERATURE)


def test_blank_chip_is_loaded_over_the_link() -> None:
    small, image = config(), load_model(MODEL)
    blank = compile_chip(system_verilog(small), "setun", small.divisor)
    with SimulatedChip(blank) as chip:
        port = open_port(chip.port, small.baud)
        try:
            client = ChipClient(port)
            client.prompt([1])
            assert list(client.generate(1, True, 0, 1)) == []
            assert client.last_done is not None and client.last_done.reason == Reason.FAULT
            for space, words in lay_out(image, small).spaces.items():
                client.write(space, 0, words)
                crc = zlib.crc32(words.astype("<u4").tobytes())
                assert client.crc(space, 0, len(words)) == crc, space.name
                middle = len(words) // 2
                np.testing.assert_array_equal(
                    client.read(space, middle, 5), words[middle : middle + 5]
                )
            marks = np.arange(100, 105, dtype=np.uint32)
            for space in (Space.STATE, Space.VECTOR):
                client.write(space, 7, marks)
                np.testing.assert_array_equal(client.read(space, 7, 5), marks)
            chips.check_generation(client, MODEL, small, 4, None)
            client.reset()
            client.prompt(chips.tokens_of(MODEL, 2))
            said = list(client.generate(4, True, 0, 1))
            client.reset()
            client.prompt(chips.tokens_of(MODEL, 2))
            ended = list(client.generate(4, True, 0, 1, ends=[said[1]]))
            assert ended == said[: said.index(said[1]) + 1]
            assert client.last_done.reason == Reason.END_OF_TEXT
            assert list(client.generate(4 - len(ended), True, 0, 1)) == said[len(ended) :]
        finally:
            port.close()


def test_every_byte_decodes_as_its_trits() -> None:
    codes = unpack_trits(np.arange(256, dtype=np.uint8)[:, None], 5)
    bits = decoded()[:, None] >> (2 * np.arange(5))
    counts, negative = bits & 1, bits >> 1 & 1
    np.testing.assert_array_equal(np.where(negative == 1, -counts, counts), codes)


def test_microprogram_stays_inside_itself() -> None:
    words = [WORD.from_bits(word) for word in microprogram()]
    assert len(words) <= WORDS
    assert words[-1].next == Next.DONE
    for word in words:
        if word.next not in (Next.ON, Next.ARRAY, Next.DONE):
            assert word.target < len(words)
    rows = {word.target for word in words if word.next == Next.ROW}
    assert len(rows) == 6 and all(words[row - 1].next == Next.ARRAY for row in rows)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"rows": 8}, "rows: must be 10"),
        ({"packing": "2b"}, "packing: must be 1.6b"),
        ({"contexts": 2}, "contexts: must be 1"),
        ({"numerics": PRESETS["fp8"]}, "numerics: must be the default"),
        ({"numerics": Numerics()}, "at most 16 bits"),
    ],
)
def test_small_chip_refuses_what_it_has_no_units_for(change: dict, rule: str) -> None:
    with pytest.raises(SetunError, match=rule):
        config().override(**change)


def test_small_chip_refuses_what_its_memory_does_not_hold() -> None:
    core = core_gateware(config())
    core.check(config())
    with pytest.raises(SetunError, match="weights: must fit"):
        core.check(config().override(weight_words=50_000))
    with pytest.raises(SetunError, match="constants: must fit"):
        core.check(config().override(constant_pairs=8_192))


def test_microprogram_uses_nothing_that_was_read_while_written() -> None:
    """Data memory may answer anything then; see `setun.hw.fpga.ice40.family`."""
    words = [WORD.from_bits(word) for word in microprogram()]
    for at, word in enumerate(words):
        if not word.write:
            continue
        behind = {at + 1, word.target} if word.next in (Next.LOOP, Next.ROW) else {at + 1}
        if word.next == Next.ROW:
            behind.add(word.target - 1)
        if word.next in (Next.JUMP, Next.CHOICE):
            behind = {word.target} if word.next == Next.JUMP else {*range(6)}
        ignored = (To.NOWHERE, To.CLEAR)
        assert all(words[k].source != Source.MEMORY or words[k].to in ignored for k in behind)


def test_rows_of_a_word() -> None:
    assert ROWS == SMALL.rows and config().weight_bits == 16
