"""What rows of the array are multiplied with: scales of the slot, of the weights, of each row."""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.arith import PRODUCT_LATENCY, FloatFromInt, multiplier
from setun.hw.pipeline import delayed
from setun.hw.seats import Walk, number


def slot_scales(
    m: Module,
    config: ChipConfig,
    command: Any,
    scale: Any,
    last: Value,
    finished: Value,
    wanted: Value,
) -> tuple[Value, Value, Signal]:
    """s = scale * immediate of seat `wanted`, s*s of each seat, and which seats' s are there.

    Both products of a seat come from one multiplier; seats follow each other.

    Parameters
    ----------
    command, scale
        Streams of the sink, of which `scale` is taken here.
    last
        Highest seat of the pass.
    finished
        Strobe: the command is done.
    """
    fmt, seats = config.vector, config.contexts
    m.submodules.multiply = multiply = multiplier(config.numerics)
    raw = Array(Signal(fmt.width, name=f"raw{k}") for k in range(seats))
    scales = Array(Signal(fmt.width, name=f"scale{k}") for k in range(seats))
    squares = Signal(data.ArrayLayout(fmt.width, seats))
    step = PRODUCT_LATENCY
    time, seat = Signal(range(step + 2)), Signal(number(seats))
    scaled, kept, complete = Signal(seats), Signal(), Signal()
    chosen = Mux(kept, raw[seat], scale.payload)
    working = command.valid & (kept | scale.valid) & ~complete
    with m.If(time == step + 1):
        m.d.comb += [multiply.a.eq(scales[seat]), multiply.b.eq(scales[seat])]
    with m.Else():
        m.d.comb += [multiply.a.eq(chosen), multiply.b.eq(command.payload.scale)]
    with m.If(working):
        m.d.sync += time.eq(time + 1)
        with m.If(time == step):
            m.d.sync += [scales[seat].eq(multiply.o), scaled.bit_select(seat, 1).eq(1)]
    ended = working & (time == step + 1)
    m.d.comb += scale.ready.eq(ended & ~kept)
    with m.If(ended):
        m.d.sync += [time.eq(0), raw[seat].eq(chosen), seat.eq(seat + 1)]
        with m.If(seat == last):
            m.d.sync += [seat.eq(0), complete.eq(1)]
    # A vector may be shorter than the multiplier: its square arrives all the same.
    squaring = delayed(m, ended, step, "squaring", reset=True)
    squared = delayed(m, seat, step, "squared")
    with m.If(squaring):
        m.d.sync += squares[squared].eq(multiply.o)
    with m.If(finished):
        m.d.sync += [scaled.eq(0), complete.eq(0), kept.eq(command.payload.keep)]
    return scales[wanted], squares, scaled


def row_factors(
    m: Module, config: ChipConfig, at: Walk, scale: Value, planes: Value, own: Value
) -> list[Value]:
    """Of each lane, when its row is a float: `scale`, times the row's own if it has one.

    `own` has those of the row group; `scale`, `planes` and `own` are of the word that is issued.
    """
    w, v = config.vector.width, config.lanes
    late = delayed(m, scale, 1 + FloatFromInt.latency, "late_scale")
    if not config.five_trits:
        return [late] * v
    assert FloatFromInt.latency == PRODUCT_LATENCY
    part, early = at.word[: ceil_log2(config.rows // v)], delayed(m, scale, 1, "early_scale")
    own = delayed(m, own.word_select(part, v * w), 1, "row_scales")
    planes = delayed(m, planes, 1 + FloatFromInt.latency, "planes")
    found = []
    for k in range(v):
        m.submodules[f"row_scale{k}"] = times = multiplier(config.numerics)
        m.d.comb += [times.a.eq(own.word_select(k, w)), times.b.eq(early)]
        found.append(Mux(planes, times.o, late))
    return found
