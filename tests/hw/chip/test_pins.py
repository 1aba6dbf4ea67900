"""The whole chip through its UART pins under cocotb: tokens and state as golden's."""

import numpy as np
import pytest

from bench.runner import run_bench
from hw.chip.test_chip import SEED, TEMPERATURE, Case, image, tokens_of
from setun.firmware.image.memory_layout import lay_out
from setun.firmware.numerics.functions import seed_state
from setun.firmware.numerics.sampling import Sampler
from setun.hw.chip import Chip
from setun.sim.golden import GoldenModel

pytestmark = pytest.mark.many_cycles


@pytest.mark.parametrize(
    ("greedy", "sampled"),
    [(16, 8), pytest.param(64, 64, marks=pytest.mark.slow)],
)
def test_generations(greedy: int, sampled: int) -> None:
    case = Case("a", 16, 4, 1)
    config, im = case.config(), image("a")
    fmt = config.vector
    jobs, arrays = [], {}
    for k, (count, temperature) in enumerate([(greedy, None), (sampled, TEMPERATURE)]):
        golden = GoldenModel(im, config.numerics)
        sampler = Sampler(config.numerics, temperature and 1.0 / temperature, SEED)
        prompt = tokens_of("a", 5)
        for token in prompt:
            golden.feed(token)
        tokens = []
        for _ in range(count):
            tokens.append(sampler(golden.logits()))
            golden.feed(tokens[-1])
        arrays[f"tokens{k}"] = np.array(tokens)
        arrays[f"state{k}"] = fmt.to_bits(golden.state).astype(np.int64)
        factor = 0 if temperature is None else int(fmt.to_bits(1.0 / temperature)[0])
        jobs.append(
            {
                "prompt": prompt,
                "greedy": temperature is None,
                "factor": factor,
                "seed": seed_state(SEED),
            }
        )
    chip = Chip(config, lay_out(im, config))
    parameters = {"config": config.to_dict(), "generations": jobs}
    run_bench(chip, "hw.chip.bench_pins", parameters=parameters, arrays=arrays, seed=91)
