"""Instructions as gateware sees them: the layout that `setun.firmware.program.isa` declares."""

from collections.abc import Callable, Iterable
from typing import Any

from amaranth.hdl import Shape, Value, unsigned
from amaranth.lib import data

from setun.firmware.program import kernels
from setun.firmware.program.isa import PLACES, WORD_BITS, WORDS, Op
from setun.firmware.program.kernels import Kernel


def shape(name: str) -> Shape:
    """Shape of a field."""
    return unsigned(PLACES[name].bits)


def layout(words: Iterable[int] = range(WORDS)) -> data.FlexibleLayout:
    """All fields of these words, a word behind the other; those of different operations overlap."""
    at = {word: WORD_BITS * k for k, word in enumerate(words)}
    return data.FlexibleLayout(
        WORD_BITS * len(at),
        {
            name: data.Field(shape(name), at[place.word] + place.low)
            for name, place in PLACES.items()
            if place.word in at
        },
    )


def among(kernel: Value, test: Callable[[Kernel], bool]) -> Value:
    """Whether the code in `kernel` is of a kernel that passes `test`."""
    return kernel.matches(*(each.code for each in kernels.KERNELS if test(each)))


def unknown(op: Value, fields: Any) -> Value:
    """Whether an operation, or a code that it has in one of these fields, means nothing."""
    wrong: Value = ~op.matches(*Op)
    for each in Op:
        for field in each.fields:
            if field.codes is not None:
                bad = ~Value.cast(fields[field.name]).matches(*field.codes)
                wrong = wrong | ((op == each) & bad)
    return wrong
