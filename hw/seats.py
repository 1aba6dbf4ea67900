"""Tokens of a pass: each sits in a seat, and every unit does every command for all seats."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.instruction import shape


def number(count: int) -> Shape:
    """Shape of a number below `count`, one bit at least."""
    return unsigned(max(1, ceil_log2(count)))


def workspaces(config: ChipConfig) -> int:
    """Sets of vectors: one for the latest token of each context, one for each seat beside it.

    What a context has fed last waits there for its head. Tokens before it in the same pass lie
    behind the contexts' workspaces, at their seats.
    """
    return 1 if config.contexts == 1 else 2 * config.contexts


def several(words: int, copies: int) -> int:
    """Words of a memory of `copies` pieces, which start at powers of two."""
    return words if copies == 1 else copies << ceil_log2(words)


def within(local: Value, words: int, piece: Value, copies: int) -> Value:
    """Address of word `local` of a piece of such a memory."""
    return local if copies == 1 else Cat(local[: ceil_log2(words)], piece)


def pass_layout(config: ChipConfig) -> data.StructLayout:
    """Who sits where; stable while the sequencer is at work.

    last
        Highest seat in use.
    seats
        workspace: of the token's vectors; context: of its recurrent state; chained: the seat
        before has the same context, so its state comes first; fresh: the state reads as zero.
    """
    seat = data.StructLayout(
        {
            "workspace": number(workspaces(config)),
            "context": number(config.contexts),
            "chained": 1,
            "fresh": 1,
        }
    )
    return data.StructLayout(
        {"last": number(config.contexts), "seats": data.ArrayLayout(seat, config.contexts)}
    )


@dataclass(frozen=True)
class Walk:
    """Where a walk over the words of all seats' vectors is.

    word, seat
        The next word, V elements of one seat's vector.
    opens, closes
        It is the first, the last word of its seat.
    breaks
        Another seat follows, or the array's next row group, or nothing.
    ends
        It is the last of all.
    """

    word: Signal
    seat: Signal
    opens: Value
    closes: Value
    breaks: Value
    ends: Value


def walk(
    m: Module,
    config: ChipConfig,
    step: Value,
    final_word: Value,
    last: Value,
    name: str,
    *,
    shared: bool = False,
) -> Walk:
    """Words of all seats in order, one at every `step`; a seat's last is number `final_word`.

    Seat by seat; `shared` row group by row group and in each seat by seat, which is the order in
    which the array makes them where seats share the weights.
    """
    parts = config.rows // config.lanes  # words of a row group
    word, seat = (
        Signal(shape(config, "n"), name=f"{name}_word"),
        Signal(number(config.contexts), name=f"{name}_seat"),
    )
    closes, breaks, ends = (Signal(name=f"{name}_{what}") for what in ("closes", "breaks", "ends"))
    part = word[: ceil_log2(parts)]
    final = seat == last
    m.d.comb += [
        closes.eq(word == final_word),
        breaks.eq(closes | (part == parts - 1)),
        ends.eq(closes & final),
    ]
    turned = breaks if shared else closes
    following = Signal(shape(config, "n"), name=f"{name}_following")
    m.d.comb += following.eq(word + 1)
    with m.If(step):
        m.d.sync += word.eq(following)
        with m.If(turned):
            m.d.sync += seat.eq(Mux(final, 0, seat + 1))
            if shared:
                with m.If(~final):
                    m.d.sync += word.eq(word & ~(parts - 1))
            else:
                m.d.sync += word.eq(0)
        with m.If(ends):
            m.d.sync += word.eq(0)
    return Walk(word, seat, word == 0, closes, breaks, ends)
