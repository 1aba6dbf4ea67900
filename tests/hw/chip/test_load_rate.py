"""How fast a model comes over the UART: bytes of it for each bit time of the line.

Some thousand words of a memory outside stand for a model: every frame is alike. Block by block a
load is writes and the CRC of what was written, so the rate of both together is that of any model.
"""

import numpy as np
import pytest

from setun.backends import SimulatedBackend
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import Space, lay_out, sized_for
from setun.models.random import random_image

pytestmark = pytest.mark.many_cycles

BITS = 10  # of a byte on the line
WORDS = 6144
RATES = {"axi4-64": 0.86, "sdram-16": 0.88}
"""What is left with the CRC: its words are read one by one, 57 and 19 cycles each."""


@pytest.mark.parametrize("memory", ["axi4-64", pytest.param("sdram-16", marks=pytest.mark.slow)])
def test_load_rate(memory: str) -> None:
    """At 3 Mbaud and 100 MHz: nine tenths of the line are the model's, less for the CRC."""
    image = random_image((64, 2, 192))
    options = {"columns": 8, "rows": 4, "lanes": 4, "packing": "1.6b", "memory": memory}
    base = ChipConfig(**options, clock_hz=100_000_000, baud=3_000_000)
    config = sized_for(image, base)
    backend = SimulatedBackend(image, config)
    try:
        client, words = backend._serial.client, lay_out(image, config).spaces[Space.WEIGHTS][:WORDS]
        assert len(words) == WORDS
        times = [backend.chip.cycles()]
        client.write(Space.WEIGHTS, 0, words)
        times.append(backend.chip.cycles())
        client.crc(Space.WEIGHTS, 0, WORDS)
        times.append(backend.chip.cycles())
        assert client.transport.resent == client.transport.refusals == 0
    finally:
        backend.close()
    writing, summing = np.diff(times) / config.divisor
    data = words.nbytes * BITS
    print(f"{memory}: {words.nbytes} bytes in {writing:.0f} bit times, CRC in {summing:.0f}")
    print(f"of the line {data / writing:.4f}, with the CRC {data / (writing + summing):.4f}")
    print(f"CRC: {summing * config.divisor / WORDS:.1f} cycles a word")
    assert data / writing >= 0.9
    assert data / (writing + summing) >= RATES[memory]
