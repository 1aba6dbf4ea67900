"""What units of two floats have in common."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.numerics.formats import Format
from setun.hw.arith.bits import bits_shape


class Binary(wiring.Component):
    """A unit with operands a and b and the result o, all of one format.

    Parameters
    ----------
    fmt
        Number format of both operands and the result.
    """

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        w = bits_shape(fmt)
        super().__init__({"a": In(w), "b": In(w), "o": Out(w)})
