"""Cocotb bench of the whole chip: levels on its two pins, nothing else."""

from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge

from bench import context
from bench.mismatch import compare
from hw.link.line import Line, SimulatedPort
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import Space
from setun.firmware.link import ChipClient, Reason
from setun.firmware.link.identity import decode


@cocotb.test()
async def generations(dut: Any) -> None:
    """Prompt and tokens of every generation, then the recurrent state, over the UART."""
    p, arrays = context.parameters(), context.arrays()
    config = ChipConfig.from_dict(p["config"])
    await context.start(dut)
    line = Line(dut, config.divisor)

    def session() -> None:
        chip = ChipClient(SimulatedPort(line), timeout=60.0)
        assert decode(chip.info()) == config
        for k, job in enumerate(p["generations"]):
            chip.reset()
            chip.prompt(job["prompt"])
            expected = arrays[f"tokens{k}"]
            got = list(chip.generate(len(expected), job["greedy"], job["factor"], job["seed"]))
            compare(f"tokens of generation {k}", expected, got, unit="Chip", width=16)
            assert chip.last_done is not None and chip.last_done.reason == Reason.COUNT
            state = arrays[f"state{k}"]
            words = chip.read(Space.STATE, 0, state.size).astype(np.int64)
            compare(f"state after generation {k}", state, words, config.vector, unit="MLGRU")
        assert chip.transport.resent == 0
        assert not line.reader.refused

    await bridge(session)()
