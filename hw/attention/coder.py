"""Heads into codes, in units of the least power of two that holds them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.arith.bits import Fields, pipe, shift_right
from setun.hw.attention.sizes import CODE_BITS
from setun.hw.pipeline import delayed, larger, tree, tree_latency


class HeadCoder(wiring.Component):
    """Words of a head, twice: the first time its exponent is found, then its codes are made.

    A code is |x| over the unit 2**(exponent - bias - 6), rounded half away from zero, 127 at
    most; see `setun.firmware.numerics.attention.Attention.coded`.

    Members
    -------
    look, make : In(1), opens : In(1)
        The word's pass; it is the head's first.
    x : In(V floats)
        With them.
    exponent : Out(fmt.exponent)
        Largest exponent field of the words looked at, `looked` cycles after the last.
    codes : Out(C codes), done : Out(1)
        Strobe: C codes of the head, `latency` cycles after their last word; `done` likewise.
    """

    latency = 3

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.looked = tree_latency(config.lanes) + 1
        fmt = config.vector
        super().__init__(
            {
                "look": In(1),
                "make": In(1),
                "opens": In(1),
                "x": In(data.ArrayLayout(fmt.width, config.lanes)),
                "exponent": Out(fmt.exponent),
                "codes": Out(data.ArrayLayout(CODE_BITS, config.attention)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, fmt = self.config, self.config.vector
        numbers = [Fields(fmt, x) for x in self.x]
        most = tree(m, [x.exponent for x in numbers], larger, "most")
        there, opens = delayed(
            m, Cat(self.look, self.opens), tree_latency(c.lanes), "looked", reset=True
        )
        with m.If(there):
            m.d.sync += self.exponent.eq(Mux(opens | (most > self.exponent), most, self.exponent))

        codes = []
        for k, x in enumerate(numbers):
            distance = pipe(m, self.exponent - x.exponent, f"distance{k}")[: fmt.exponent]
            # Two bits are cut before rounding: half a unit stays.
            wide = Cat(Const(0, CODE_BITS), x.significand)[-CODE_BITS:]
            size = pipe(m, wide, f"size{k}")
            flags = pipe(m, Cat(x.sign, x.nonzero), f"flags{k}")
            near = shift_right(m, size, distance[: CODE_BITS.bit_length()], name=f"near{k}")
            far = distance[CODE_BITS.bit_length() :].any()
            rounded = Signal(CODE_BITS, name=f"rounded{k}")
            whole = Signal(CODE_BITS + 1, name=f"whole{k}")
            m.d.comb += [
                whole.eq(Mux(far | ~flags[1], 0, near) + 1),
                # What would be 2**7 is 2**7 - 1.
                rounded.eq(Mux(whole[-1], (1 << (CODE_BITS - 1)) - 1, whole[1:])),
            ]
            code = Signal(CODE_BITS, name=f"code{k}")
            m.d.comb += code.eq((rounded ^ flags[0].replicate(CODE_BITS)) + flags[0])
            codes.append(pipe(m, code, f"code{k}_made"))

        v, parts = c.lanes, c.attention // c.lanes
        made, first = delayed(m, Cat(self.make, self.opens), 2, "made", reset=True)
        part = Signal(range(max(2, parts)))
        here = Mux(first, 0, part)
        word = Signal(CODE_BITS * c.attention)
        with m.If(made):
            m.d.sync += word.word_select(here, CODE_BITS * v).eq(Cat(*codes))
            m.d.sync += part.eq(Mux(here == parts - 1, 0, here + 1))
        m.d.sync += self.done.eq(made & (here == parts - 1))
        m.d.comb += self.codes.as_value().eq(word)
        assert ceil_log2(parts) == parts.bit_length() - 1
        return m
