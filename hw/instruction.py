"""Instructions as gateware sees them: the layout that `setun.firmware.program.isa` declares."""

from collections.abc import Callable, Iterable
from typing import Any

from amaranth.hdl import Shape, Value, unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.firmware.core_kinds import CoreKind
from setun.firmware.program import kernels
from setun.firmware.program.isa import PLACES, WIDE, WORD_BITS, WORDS, Places
from setun.firmware.program.kernels import Kernel


def places(config: ChipConfig) -> Places:
    """Where the fields of a chip's instructions lie."""
    return WIDE if config.streams else PLACES


def shape(config: ChipConfig, name: str) -> Shape:
    """Shape of a field's value."""
    place = places(config)[name]
    return unsigned(place.bits + ceil_log2(place.grain))


def layout(config: ChipConfig, of: Iterable[int] = range(WORDS)) -> data.FlexibleLayout:
    """All fields of these words, a word behind the other; those of different operations overlap.

    They are those of the core's own operations.

    Fields count in the grain of their places.
    """
    at = {word: WORD_BITS * k for k, word in enumerate(of)}
    known = {"op", *(field.name for op in config.core.operations for field in op.fields)}
    return data.FlexibleLayout(
        WORD_BITS * len(at),
        {
            name: data.Field(unsigned(place.bits), at[place.word] + place.low)
            for name, place in places(config).items()
            if place.word in at and name in known
        },
    )


def words(config: ChipConfig, fields: Any, name: str) -> Value:
    """Where `name` of an instruction points, in memory words."""
    bits = ceil_log2(config.lanes) - ceil_log2(places(config)[name].grain)
    value = Value.cast(fields[name])
    return value >> bits if bits >= 0 else value << -bits


def among(kernel: Value, test: Callable[[Kernel], bool]) -> Value:
    """Whether the code in `kernel` is of a kernel that passes `test`."""
    return kernel.matches(*(each.code for each in kernels.KERNELS if test(each)))


def unknown(core: CoreKind, op: Value, fields: Any) -> Value:
    """Whether an operation, or a code that it has in one of these fields, means nothing to it."""
    wrong: Value = ~op.matches(*core.operations)
    for each in core.operations:
        for field in each.fields:
            codes = core.codes(field)
            if codes is not None:
                bad = ~Value.cast(fields[field.name]).matches(*codes)
                wrong = wrong | ((op == each) & bad)
    return wrong
