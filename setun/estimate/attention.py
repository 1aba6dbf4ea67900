"""Cycles of the unit of attention: what its docstrings and states say, summed."""

from setun.firmware.config import ChipConfig
from setun.firmware.program.isa import Instruction
from setun.hw.attention.cache import LATENCY
from setun.hw.attention.coder import HeadCoder
from setun.hw.attention.dots import Dots
from setun.hw.attention.outputs import Outputs
from setun.hw.attention.softmax import Softmax
from setun.hw.attention.turns import Turns
from setun.hw.attention.unit import READ
from setun.hw.pipeline import tree_latency

ENDS = 2 + Outputs.latency  # its first cycle, and those in which the last words are written


def rotate_cycles(config: ChipConfig, i: Instruction, seats: int, *, first: bool) -> int:
    """ROTATE; the first of a pass looks the turns up."""
    turns = seats * i.block + Turns.DRAIN + 1 if first else 0
    return ENDS + turns + seats * (i.n // config.lanes)


def coded_cycles(config: ChipConfig, i: Instruction) -> int:
    """Codes of one head."""
    look = 1 + tree_latency(config.lanes)
    return 2 * (i.block // config.lanes) + look + READ + HeadCoder.latency


def cache_cycles(config: ChipConfig, i: Instruction, seats: int) -> int:
    """CACHE."""
    return ENDS + seats * (i.n // i.block) * coded_cycles(config, i)


def attend_cycles(config: ChipConfig, i: Instruction, positions: list[int]) -> int:
    """ATTEND of seats that have `positions` to attend to, their own included."""
    c = config
    parts, dot = i.block // c.attention, 3 + tree_latency(c.attention)
    scored = LATENCY + dot + Softmax.score_latency
    weighed = Softmax.term_latency + Dots.sum_latency
    shared = i.n // i.block // i.group  # heads of keys
    groups = -(-i.group // c.queries)
    outputs = i.group * parts * (c.attention // c.lanes)
    cycles = ENDS
    for count in positions:
        passes = groups * (2 * parts * count + scored + parts * weighed)
        cycles += shared * (i.group * coded_cycles(c, i) + passes + outputs)
    return cycles
