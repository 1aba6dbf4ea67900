"""Whole chips as Yosys leaves them, of a vendor's cells, behind their UART pins, against golden."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hw.chip import test_chip as chips
from hw.chip.test_small import MODEL, config
from hw.fpga.netlist.cells import cells
from hw.fpga.netlist.synthesis import synthesised, with_models
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import lay_out, sized_for
from setun.firmware.link import ChipClient, open_port
from setun.hw.chip import Chip
from setun.hw.fpga.families import ICE40
from setun.models.load import load_model
from setun.models.random import random_image
from setun.sim.simulator import SimulatedChip, compile_chip

PATIENCE = 600.0  # seconds; a netlist runs at some thousand cycles a second
RANDOM = "random"


@contextmanager
def running(gates: str, kind: str, made: ChipConfig) -> Iterator[ChipClient]:
    """A client of the chip that this netlist is."""
    chip = compile_chip(with_models(gates, kind), "setun", made.divisor)
    with SimulatedChip(chip) as simulated:
        port = open_port(simulated.port, made.baud)
        try:
            yield ChipClient(port, timeout=PATIENCE, retries=0, patience=PATIENCE)
        finally:
            port.close()


@pytest.mark.slow
def test_ice40_equals_golden(tmp_path: Path) -> None:
    """Loaded over the link: a bitstream does not fill single-port RAM."""
    small, image = config(), load_model(MODEL)
    gates = synthesised(Chip(small, None, ICE40.flow_technology), "setun", "ice40", tmp_path)
    counts = cells(gates)
    print(dict(sorted(counts.items())))
    assert {"SB_LUT4", "SB_RAM40_4K", "SB_SPRAM256KA"} <= counts.keys()
    assert counts["SB_MAC16"] == 8
    with running(gates, "ice40", small) as client:
        for space, words in lay_out(image, small).spaces.items():
            client.write(space, 0, words)
            crc = zlib.crc32(words.astype("<u4").tobytes())
            assert client.crc(space, 0, len(words)) == crc, space.name
        chips.check_generation(client, MODEL, small, 4, None)
        chips.check_generation(client, MODEL, small, 4, chips.TEMPERATURE)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ecp5_equals_golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model lies in the initial contents of block RAM, as in a bitstream."""
    image = random_image((64, 1, 64), seed=5)
    monkeypatch.setitem(chips.MODELS, RANDOM, tmp_path)
    monkeypatch.setattr(chips, "image", lambda model: image)
    base = ChipConfig(
        columns=8, rows=4, lanes=2, packing="1.6b", clock_hz=40_000_000, baud=10_000_000
    )
    made = sized_for(image, base)
    layout = lay_out(image, made)
    gates = synthesised(Chip(made, layout), "setun", "ecp5", tmp_path)
    counts = cells(gates)
    print(dict(sorted(counts.items())))
    assert {"LUT4", "CCU2C", "TRELLIS_DPR16X4", "DP16KD", "MULT18X18D"} <= counts.keys()
    with running(gates, "ecp5", made) as client:
        for space, words in layout.spaces.items():
            crc = zlib.crc32(words.astype("<u4").tobytes())
            assert client.crc(space, 0, len(words)) == crc, space.name
        chips.check_generation(client, RANDOM, made, 16, None)
        chips.check_generation(client, RANDOM, made, 8, chips.TEMPERATURE)
