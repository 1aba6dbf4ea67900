"""Sums of a row's blocks: exact, or exact within chunks that (1,6,9) rounds and adds up."""

from collections.abc import Sequence

from amaranth.hdl import C, Cat, Module, Signal, Value, signed
from amaranth.lib import data, memory

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.options import ACCUMULATOR
from setun.hw.pipeline import delayed
from setun.hw.technology import Technology

DIGITS = ACCUMULATOR.mantissa + 1  # significant bits of what is rounded
CHUNK_LATENCY = 2  # cycles by which sums of chunks come later


def running_sums(
    m: Module,
    terms: Sequence[Value],
    place: Value,
    valid: Value,
    opens: Value,
    technology: Technology,
    name: str = "",
) -> list[Value]:
    """Sums so far at `place`, from the one that `opens`; combinational, kept if `valid`.

    Read, added and written in one cycle, so a place may follow itself. All terms have one width,
    which their sums fit.
    """
    width = len(terms[0])
    layout = data.ArrayLayout(signed(width), len(terms))
    kept = memory.Memory(shape=width * len(terms), depth=1 << len(place), init=[])
    m.submodules[f"{name}sums"] = kept
    read, write = kept.read_port(domain="comb"), kept.write_port()
    before = data.View(layout, read.data)
    total = Signal(layout, name=f"{name}total")
    for k, term in enumerate(terms):
        # The adder's mask leaves out what a panel before has left behind.
        added = technology.add_masked(
            m, term, before[k], Cat(~opens, C(0, 1)), C(0, 2), f"{name}total{k}"
        )
        m.d.comb += total[k].eq(added)
    m.d.comb += [
        read.addr.eq(place),
        write.addr.eq(place),
        write.en.eq(valid),
        write.data.eq(total),
    ]
    return [total[k] for k in range(len(terms))]


def chunk_sums(
    m: Module,
    terms: Sequence[Value],
    place: Value,
    flags: "ChunkFlags",
    config: ChipConfig,
    technology: Technology,
) -> tuple[list[Value], Value]:
    """Rounded sums of chunks' rounded sums, `CHUNK_LATENCY` cycles later, and when they are whole.

    Exact sums as far as a chunk goes, rounded in the second cycle; in the third they are added to
    the total at their place and rounded again, all in one cycle, so a place may follow itself.
    """
    columns = config.numerics.accumulate
    width = min(config.sum_width, config.numerics.code_bits + columns.bit_length() - 1)
    sums: Sequence[Value] = [term[:width].as_signed() for term in terms]
    if columns > config.columns:
        sums = running_sums(m, sums, place, flags.valid, flags.opens, technology, "chunk_")
    late = delayed(m, Cat(flags.whole, flags.last, flags.first), CHUNK_LATENCY, "late", reset=True)
    target = delayed(m, place, CHUNK_LATENCY, "late_place")
    total = data.ArrayLayout(signed(config.sum_width), len(terms))
    kept = memory.Memory(shape=total.size, depth=1 << len(place), init=[])
    m.submodules.sums = kept
    read, write = kept.read_port(domain="comb"), kept.write_port()
    before, after = data.View(total, read.data), Signal(total, name="total")
    for k, chunk in enumerate(sums):
        exact = delayed(m, chunk, 1, f"exact{k}")
        term = Signal(signed(config.sum_width), name=f"term{k}")
        m.d.comb += term.eq(delayed(m, rounded(m, exact, f"chunk{k}"), 1, f"rounded{k}"))
        added = technology.add_masked(
            m, term, before[k], Cat(~late[2], C(0, 1)), C(0, 2), f"total{k}"
        )
        m.d.comb += after[k].eq(rounded(m, added, f"sum{k}"))
    m.d.comb += [
        read.addr.eq(target),
        write.addr.eq(target),
        write.en.eq(late[0]),
        write.data.eq(after),
    ]
    return [after[k] for k in range(len(terms))], late[0] & late[1]


class ChunkFlags:
    """What a block is to its chunk and its vector.

    Parameters
    ----------
    valid, last
        Whether there is a block, and whether it is the vector's last.
    block
        Its number in the vector.
    blocks
        Blocks of a chunk, a power of two.

    Attributes
    ----------
    opens, whole, first
        It is a chunk's first; `valid` and its last; of the vector's first chunk.
    """

    def __init__(self, valid: Value, last: Value, block: Value, blocks: int) -> None:
        bits = blocks.bit_length() - 1
        self.valid, self.last = valid, last
        self.opens = ~block[:bits].any()
        self.whole = valid & (block[:bits].all() | last)
        self.first = ~block[bits:].any()


def rounded(m: Module, value: Value, name: str) -> Value:
    """A signed whole number rounded to `DIGITS` significant bits, ties to even; combinational.

    In two's complement, where every step is what it is for magnitudes: -2**k alone looks shorter
    than it is, and has no bits to round. The result has the width of `value`, which a number that
    is rounded up to a power of two must fit.
    """
    width = len(value)
    dropped = width - 1 - DIGITS  # at most
    if dropped <= 0:
        return value
    bits = value.as_unsigned()
    size = (bits ^ bits[-1].replicate(width))[:-1]
    # below[k]: bit k lies below the last one that is kept.
    below = Signal(dropped + 1, name=f"{name}_below")
    m.d.comb += below.eq(Cat(size[DIGITS + k :].any() for k in range(dropped)))
    half = below & ~(below >> 1)
    unit = Cat(C(0, 1), half)[: len(below)]
    # Half a unit is added; where that was a tie, the unit's bit gets even by being cleared.
    nearest, tie = Signal(width, name=f"{name}_nearest"), Signal(name=f"{name}_tie")
    m.d.comb += [
        nearest.eq(bits + half),
        tie.eq(~((bits[: len(below)] & below) ^ half).any()),
    ]
    kept = nearest[: len(below)] & ~below & ~(unit & tie.replicate(len(below)))
    return Cat(kept, nearest[len(below) :]).as_signed()
