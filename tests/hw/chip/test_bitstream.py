"""Whole chips as bitstreams have them: generic rows, and block RAM that may answer anything when a
word is read in the cycle of its write."""

from collections.abc import Sequence

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, Value

from setun.backends import SimulatedBackend, simulated
from setun.backends.base import Sampling
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import sized_for
from setun.hw.control.generation import COUNTERS
from setun.hw.emit.verilog import chip_verilog
from setun.hw.memory.store import Store
from setun.models.random import random_image
from setun.sim.golden import GoldenModel

IMAGE = random_image((64, 2, 128), seed=4)
PROMPT = [3, 17, 5, 9, 30, 2]
TOKENS = 12


def opposite_on_collision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores show the complement of a word that is read while it is written."""
    plain = Store._segments

    def segments(
        self: Store, m: Module, address: Value, enable: Value, write_address: Value, data: Value
    ) -> None:
        shown, self.read_data = self.read_data, Signal(self.width, name="stored")
        plain(self, m, address, enable, write_address, data)
        collided = Signal()
        m.d.sync += collided.eq(enable & (address == write_address))
        m.d.comb += shown.eq(self.read_data ^ collided.replicate(self.width))
        self.read_data = shown

    monkeypatch.setattr(Store, "_segments", segments)


def expected() -> Sequence[int]:
    golden = GoldenModel(IMAGE, ChipConfig().numerics)
    for token in PROMPT:
        golden.feed(token)
    tokens = []
    for _ in range(TOKENS):
        tokens.append(int(np.argmax(golden.logits())))
        golden.feed(tokens[-1])
    return tokens


def config(**options: object) -> ChipConfig:
    base = ChipConfig(columns=8, rows=8, lanes=4).override(**options)
    return simulated_config(sized_for(IMAGE, base))


@pytest.mark.parametrize(
    ("contexts", "pump", "packing"), [(1, 1, "2b"), (2, 1, "1.6b"), (1, 2, "1.6b"), (2, 2, "2b")]
)
def test_generic_rows_and_collisions(
    monkeypatch: pytest.MonkeyPatch, contexts: int, pump: int, packing: str
) -> None:
    opposite_on_collision(monkeypatch)
    monkeypatch.setattr(simulated, "blank_verilog", chip_verilog)
    chip = SimulatedBackend(IMAGE, config(contexts=contexts, pump=pump, packing=packing))
    try:
        greedy = Sampling()
        streams = [chip.start(PROMPT, TOKENS, greedy, k) for k in range(contexts)]
        for stream in streams:
            assert list(stream) == expected()
    finally:
        chip.close()


def test_simulated_chip_takes_the_cycles_of_a_pumped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled simulator has no fast clock; what it counts is what the bitstream's chip takes.

    A pump costs a few cycles of latency.
    """

    def cycles(**options: object) -> int:
        chip = SimulatedBackend(IMAGE, config(**options))
        try:
            assert list(chip.start(PROMPT, TOKENS, Sampling())) == expected()
            return chip.counters()[COUNTERS.index("cycles")]
        finally:
            chip.close()

    told = cycles(pump=2)
    plain = cycles()
    with monkeypatch.context() as patched:
        patched.setattr(simulated, "blank_verilog", chip_verilog)
        assert cycles(pump=2) == told
    assert plain < told < 1.2 * plain
