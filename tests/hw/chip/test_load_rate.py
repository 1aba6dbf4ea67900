"""How fast a model comes over the UART, verified: bytes of it for each bit time of the line.

Some thousand words of a memory outside stand for a model: every frame is alike. What two lengths
differ by is what every further piece takes, that of any model; a load begins and ends once.
"""

import numpy as np
import pytest

from setun.backends import SimulatedBackend
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import Space, lay_out, sized_for
from setun.firmware.link.memory import SUMMED_WORDS
from setun.models.random import random_image

pytestmark = pytest.mark.many_cycles

BITS = 10  # of a byte on the line
WORDS = (SUMMED_WORDS, 4 * SUMMED_WORDS)


@pytest.mark.parametrize("memory", ["axi4-64", pytest.param("sdram-16", marks=pytest.mark.slow)])
def test_load_rate(memory: str) -> None:
    """At 3 Mbaud and 100 MHz nine tenths of the line are the model's, with the CRC of all of it."""
    image = random_image((64, 2, 192))
    options = {"columns": 8, "rows": 4, "lanes": 4, "packing": "1.6b", "memory": memory}
    base = ChipConfig(**options, clock_hz=100_000_000, baud=3_000_000)
    config = sized_for(image, base)
    backend = SimulatedBackend(image, config)
    try:
        client, words = backend._serial.client, lay_out(image, config).spaces[Space.WEIGHTS]
        assert len(words) >= WORDS[1]
        times = []
        for count in WORDS:
            began = backend.chip.cycles()
            assert client.write(Space.WEIGHTS, 0, words[:count], summed=True) == []
            times.append(backend.chip.cycles() - began)
        began = backend.chip.cycles()
        client.crc(Space.WEIGHTS, 0, WORDS[0])
        summing = backend.chip.cycles() - began
        assert client.transport.resent == client.transport.refusals == 0
    finally:
        backend.close()
    (further,) = np.diff(times) / config.divisor
    rate = 4 * (WORDS[1] - WORDS[0]) * BITS / further
    print(
        f"{memory}: {np.round(np.divide(times, config.divisor))} bit times, of the line {rate:.4f}"
    )
    print(f"CRC: {summing / WORDS[0]:.1f} cycles a word")
    assert rate >= 0.9
