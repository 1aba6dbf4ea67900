"""RoPE's turns of pairs of words: two products and a sum for each element."""

from amaranth.hdl import Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.hw.arith import PRODUCT_LATENCY, FloatAdder, FloatMultiplier, LMul, multiplier
from setun.hw.pipeline import delayed


class Rotator(wiring.Component):
    """Words a and b of a head, one behind the other, into a*cos - b*sin and b*cos + a*sin.

    Products and sums are rounded each, see `setun.firmware.numerics.rotary.rotated`. Where these
    are exact ones although the chip has L-Mul, they are made of additions.

    Members
    -------
    second : In(1)
        The word is b; with the word.
    x, cosine, sine : In(V floats)
        The word and its turns, the same turns for both.
    o : Out(V floats)
        The turned words.

    Latency `latency` cycles, throughput a word a cycle.
    """

    latency = PRODUCT_LATENCY + 1 + FloatAdder.latency

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        words = data.ArrayLayout(config.vector.width, config.lanes)
        super().__init__(
            {"second": In(1), "x": In(words), "cosine": In(words), "sine": In(words)}
            | {"o": Out(words)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt = self.config.vector
        sign = 1 << (fmt.width - 1)
        second = delayed(m, self.second, PRODUCT_LATENCY + 1, "second")
        for k in range(self.config.lanes):
            m.submodules[f"along{k}"] = along = self._product()
            m.submodules[f"across{k}"] = across = self._product()
            m.submodules[f"add{k}"] = add = FloatAdder(fmt)
            before = delayed(m, across.o, 2, f"across{k}_before")
            m.d.comb += [
                along.a.eq(self.x[k]),
                along.b.eq(self.cosine[k]),
                across.a.eq(self.x[k]),
                across.b.eq(self.sine[k]),
                add.a.eq(delayed(m, along.o, 1, f"along{k}_before")),
                add.b.eq(Mux(second, before, across.o ^ sign)),
                self.o[k].eq(add.o),
            ]
        return m

    def _product(self) -> FloatMultiplier | LMul:
        numerics = self.config.numerics
        if numerics.lmul and not numerics.lmul_in_rope:
            return FloatMultiplier(numerics.vector, adders=True)
        return multiplier(numerics)
