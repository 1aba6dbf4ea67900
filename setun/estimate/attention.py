"""Cycles of the unit of attention: what its docstrings and states say, summed."""

from setun.estimate.memories import memory_estimate
from setun.firmware.config import ChipConfig
from setun.firmware.program.isa import Instruction
from setun.hw.attention.cache import LATENCY, WEIGHING
from setun.hw.attention.coder import HeadCoder
from setun.hw.attention.dots import Dots
from setun.hw.attention.head_walk import READ
from setun.hw.attention.norm import HeadNorm
from setun.hw.attention.outer import WORD
from setun.hw.attention.outputs import Outputs
from setun.hw.attention.rotator import Rotator
from setun.hw.attention.softmax import Softmax
from setun.hw.attention.turns import Turns
from setun.hw.pipeline import tree_latency

STORES = 8  # cycles of a head's places, and from one of its words to the next


def rotate_cycles(config: ChipConfig, i: Instruction, seats: int, *, first: bool) -> int:
    """ROTATE; the first of a pass looks the turns up."""
    turns = seats * i.block + Turns.DRAIN + 1 if first else 0
    return 1 + READ + Rotator.latency + turns + seats * (i.n // config.lanes)


def coded_cycles(config: ChipConfig, i: Instruction) -> int:
    """Codes of one head."""
    look = 1 + tree_latency(config.lanes)
    return 2 * (i.block // config.lanes) + look + READ + HeadCoder.latency


def norm_cycles(config: ChipConfig, i: Instruction, seats: int) -> int:
    """NORM: each head is read three times, behind its largest exponent and its sum of squares."""
    look, root = 1 + tree_latency(config.lanes), HeadNorm(config).latency - 1
    ends = 1 + READ + Outputs.direct_latency
    return ends + seats * (i.n // i.block) * (3 * (i.block // config.lanes) + look + root)


def cache_cycles(config: ChipConfig, i: Instruction, seats: int) -> int:
    """CACHE; words of an external memory are written one after the other, the last one changed."""
    each = coded_cycles(config, i)
    if config.outer_cache:
        memory = memory_estimate(config)
        words = i.block // WORD
        # What was read ahead has come long before; the word of exponents is read first.
        each += (words + 1) * memory.write + memory.first + STORES
    return 2 + seats * (i.n // i.block) * each


def attend_cycles(config: ChipConfig, i: Instruction, positions: list[int]) -> int:
    """ATTEND of seats that have `positions` to attend to, their own included.

    A group's queries are coded while values are weighed for the group before; its sums are put out
    while keys are scored for the next. What an external memory gives comes in one run for each
    group, from when the group before has read its last word.
    """
    c = config
    parts, dot = i.block // c.attention, 3 + tree_latency(c.attention)
    scored = LATENCY + dot + Softmax.score_latency
    through = Softmax.term_latency + Dots.sum_latency
    shared = i.n // i.block // i.group  # heads of keys
    sizes = [min(c.queries, i.group - k) for k in range(0, i.group, c.queries)] * shared
    look, ask, read, out = 1, 2, -1, 0  # first cycles, and last ones of what went before
    for count in positions:
        for many in sizes:
            coded = look + many * coded_cycles(c, i)
            score = max(coded + 1, read + WEIGHING - LATENCY + 1)
            look = score + parts * count + scored
            weigh = max(look, out + 1)
            for _ in range(parts):
                read = weigh + count - 1
                out = read + through + many * (c.attention // c.lanes)
                weigh = out + 1
            if c.outer_cache:
                late = max(0, ask + _read(c, parts, count) - read)
                read, out = read + late, out + late
            ask = read + 2
    return out + Outputs.latency + 1


def _read(config: ChipConfig, parts: int, count: int) -> int:
    """Cycles until the last of `count` keys and values of a head has come."""
    memory = memory_estimate(config)
    words = 2 * -(-count // config.attention) + 2 * parts * count
    beats = words * 8 * config.attention // config.weight_port
    return memory.first + round(beats / memory.efficiency(config))
