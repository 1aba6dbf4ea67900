"""What benches of the sink are given: commands, seats, accumulators, scales."""

import random

import numpy as np

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.arithmetic import STAT_BITS
from setun.firmware.numerics.five_trits import PLANES
from setun.firmware.program import kernels
from setun.firmware.program.isa import INT8_BITS
from setun.firmware.program.kernels import Kernel, Port

BUFFER = 40  # words of a vector; more than the pipeline is long
BUFFERS = 4
Command = dict[str, int]
Job = tuple[Command, np.ndarray, list[int]]  # with rows, see `planes`, and scales of the seats
Seats = list[dict[str, int]]


def order(config: ChipConfig, words: int, seats: int) -> list[tuple[int, int]]:
    """(word, seat) in the order of the array's rows."""
    every = [(word, seat) for seat in range(seats) for word in range(words)]
    if config.shares_weights:  # row group by row group
        parts = config.rows // config.lanes
        every.sort(key=lambda at: (at[0] // parts, at[1], at[0]))
    return every


def draw(
    rng: random.Random, config: ChipConfig, rows: int, kernel: Kernel, before: Command | None
) -> Command:
    """A command that often reads what the one `before` wrote."""
    fmt = config.vector
    # The largest accumulator still fits the statistic, as the compiler takes care.
    shift = max(0, (127 * config.max_columns).bit_length() + 1 - STAT_BITS)
    shift += config.numerics.code_bits - INT8_BITS
    bases = [k * BUFFER for k in range(BUFFERS)]
    source = rng.choice(bases)
    if before is not None and rng.random() < 0.7:
        over = kernels.coded(before["kernel"]).stores is Port.SOURCE
        source = before["source"] if over else before["destination"]
    gates = {"gates": rng.choice(bases)} if config.streams else {}
    planes = {}
    if config.five_trits:
        planes["planes"] = int(kernel is kernels.SAMPLE and rng.random() < 0.7)
    return {
        **gates,
        **planes,
        "rows": rows,
        "kernel": kernel.code,
        "keep": 0,
        "feeds": int(rng.random() < 0.3 and kernel.stores is Port.DESTINATION),
        "stat_shift": shift + rng.randrange(3),
        "source": source,
        "destination": rng.choice([source, *bases]),
        "scale": int(fmt.to_bits(rng.choice((0.01, 0.002, -0.03)))[0]),
    }


def draw_seats(rng: random.Random, config: ChipConfig, count: int, fresh: bool) -> Seats:
    """Who sits where: contexts in any order, each seat with a workspace of its own."""
    spaces = 1 if config.contexts == 1 else 2 * config.contexts
    fresher = [fresh and (config.contexts == 1 or rng.random() < 0.6) for _ in range(count)]
    seats: Seats = []
    for workspace, zero in zip(rng.sample(range(spaces), count), fresher, strict=True):
        mine = rng.randrange(config.contexts)
        chained = any(seat["context"] == mine for seat in seats)
        seats.append(
            {
                "workspace": workspace,
                "context": mine,
                "chained": int(chained),
                "fresh": int(zero and not chained),
            }
        )
    return seats


def row_scales(config: ChipConfig, rows: int) -> np.ndarray:
    """Bits of each row's own scale, the same wherever a command has so many rows."""
    scales = np.random.default_rng(rows).uniform(0.0, 0.02, rows)
    scales[::7] = 0.0
    return config.vector.to_bits(scales).astype(np.int64)


def planes(
    rng: random.Random, config: ChipConfig, command: Command, rows: int, seats: int
) -> np.ndarray:
    """`sums` [seats, rows] of a command; [seats, 5, rows], least plane first, if it has planes."""
    if not command.get("planes"):
        return sums(rng, config, rows, seats)
    return np.stack([sums(rng, config, rows, seats) for _ in range(PLANES)], 1)


def sums(rng: random.Random, config: ChipConfig, rows: int, seats: int) -> np.ndarray:
    """Accumulators of every seat, some of them as large as they get."""
    one, spread = (2 << config.numerics.fraction, 3e5) if config.numerics.fp8 else (127, 300.0)
    top = one * config.max_columns
    values = np.array([int(rng.gauss(0.0, spread)) for _ in range(rows * seats)])
    for k in range(rows * seats):
        if rng.random() < 0.05:
            values[k] = rng.choice((0, top, -top))
    return np.clip(values, -top, top).reshape(seats, rows)


def scale_bits(rng: random.Random, config: ChipConfig, seats: int) -> list[int]:
    return [int(config.vector.to_bits(rng.uniform(0.2, 3.0))[0]) for _ in range(seats)]
