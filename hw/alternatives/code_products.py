"""`python -m setun.hw.alternatives.code_products`: products of attention's codes, each alone.

A term of the softmax, or a query's code, of 18 bits with its sign, times a cached code of 8 bits:
on a multiplier, by additions, which a chip with L-Mul has, or by L-Mul itself. The latter is given
both factors with their leading ones found, which chips would have to do besides. Cells as those of
`setun.hw.alternatives.products`.
"""

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.lmul import fraction_bits, lmul, offsets
from setun.firmware.numerics.options import SEGMENTS
from setun.hw.alternatives.products import COLUMNS, costs
from setun.hw.arith.bits import pipe, shift_and_add
from setun.hw.arith.lmul import chosen
from setun.hw.attention.sizes import CODE_BITS, FACTOR_BITS
from setun.programs import line, parser, run, table

WIDTH = FACTOR_BITS + CODE_BITS
MANTISSA = 9  # of a factor: what the vector format keeps of a term


class CodeProduct(wiring.Component):
    """o = a * b of signed whole numbers, a register behind it; latency a cycle.

    Parameters
    ----------
    adders
        By additions instead of a multiplier.
    """

    latency = 1

    def __init__(self, *, adders: bool = False) -> None:
        self.adders = adders
        a, b = signed(FACTOR_BITS), signed(CODE_BITS)
        super().__init__({"a": In(a), "b": In(b), "o": Out(signed(WIDTH))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        added = shift_and_add(m, self.a, self.b, name="part") if self.adders else None
        m.d.comb += self.o.eq(pipe(m, self.a * self.b if added is None else added, "product"))
        return m


class CodeLMul(wiring.Component):
    """L-Mul of two whole numbers without their signs, cut to a whole number, with a sign.

    Members
    -------
    a, b : In(MANTISSA), In(CODE_BITS - 2)
        Mantissas: what is behind the leading one.
    places : In(5)
        Sum of both leading ones' places, at most `WIDTH` - 3.
    sign : In(1), o : Out(signed(WIDTH))

    Latency: 2 cycles (add, choose an offset | add it, shift, negate).
    """

    latency = 2

    def __init__(self) -> None:
        members = {"a": In(MANTISSA), "b": In(CODE_BITS - 2), "places": In(5), "sign": In(1)}
        super().__init__(members | {"o": Out(signed(WIDTH))})

    def model(self, a: ArrayLike, b: ArrayLike, places: ArrayLike, sign: ArrayLike) -> Ints:
        """Products, as bit patterns of `WIDTH` bits."""
        x = 1.0 + np.asarray(a) * 2.0**-MANTISSA
        y = 1.0 + np.asarray(b) * 2.0 ** (2 - CODE_BITS)
        size = np.floor(np.ldexp(lmul(x, y, MANTISSA, SEGMENTS), np.asarray(places, np.int64)))
        return np.where(sign, -size, size).astype(np.int64) & ((1 << WIDTH) - 1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        b = Cat(Const(0, MANTISSA - len(self.b)), self.b)
        total = pipe(m, self.a + b, "total")
        tops = Cat(b[MANTISSA - SEGMENTS :], self.a[MANTISSA - SEGMENTS :])
        offset = pipe(m, chosen(m, offsets(MANTISSA, SEGMENTS).ravel(), tops), "offset")
        places, sign = pipe(m, self.places, "places1"), pipe(m, self.sign, "sign1")
        low = MANTISSA - fraction_bits(MANTISSA, SEGMENTS)
        fraction = Signal(MANTISSA + 1)
        m.d.comb += fraction.eq(Cat(total[:low], total[low:] + offset))
        one = Cat(fraction[:MANTISSA], Const(1, 1))
        value: Value = Mux(fraction[MANTISSA], one << 1, one)
        for k in range(len(self.places)):
            stage = Signal(WIDTH + MANTISSA, name=f"placed{k}")
            m.d.comb += stage.eq(Mux(places[k], value << (1 << k), value))
            value = stage
        size = value[MANTISSA:]
        signed_size = (size ^ sign.replicate(WIDTH)) + sign
        m.d.comb += self.o.eq(pipe(m, signed_size[:WIDTH], "result"))
        return m


UNITS: dict[str, tuple[Any, str]] = {
    "exact, multiplier block": (CodeProduct, ""),
    "exact, LUTs": (CodeProduct, "-nodsp"),
    "exact, additions": (lambda: CodeProduct(adders=True), ""),
    "L-Mul of normalised factors": (CodeLMul, ""),
}


def main() -> None:
    """Print the table of docs/numerics.md."""
    parser(__doc__).parse_args()
    print(table(COLUMNS[1:], ()), flush=True)
    for name, (unit, more) in UNITS.items():
        print(line([name, *costs(unit(), more)]), flush=True)


if __name__ == "__main__":
    run(main)
