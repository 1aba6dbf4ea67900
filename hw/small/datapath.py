"""Float datapath of the small core: every unit once, between one bus and its registers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.arithmetic import SQUARE_BITS, STAT_BITS
from setun.hw.arith import (
    CodeQuantiser,
    CodeReciprocal,
    FloatAdder,
    FloatFromInt,
    FloatMultiplier,
    Rsqrt,
    Sigmoid,
)
from setun.hw.arith.bits import Fields, pipe, shift_right
from setun.hw.instruction import shape
from setun.hw.pipeline import delayed
from setun.hw.small.microcode import WORD
from setun.hw.small.words import Convert, Source, To
from setun.hw.vector.scale import SQUARE_FRACTION


class Datapath(wiring.Component):
    """Executes the microprogram's moves.

    Members
    -------
    word : In
        The move of this cycle; all zero for none.
    memory, constant, immediate : In(fmt.width)
        Numbers that the bus may take.
    row : In(signed)
        A sum of the array.
    shift : In
        Bits dropped from a row before it is squared.
    bus : Out(fmt.width)
    late : Out(fmt.width)
        The bus of the cycle before.
    code_write : Out(1), code_address : Out, code : Out(signed(8))
        Codes, 4 cycles behind their move.

    Results follow their operands in P and Q by the latency of their unit in `setun.hw.arith`.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        w = config.vector.width
        super().__init__(
            {
                "word": In(WORD),
                "memory": In(w),
                "constant": In(w),
                "immediate": In(w),
                "row": In(signed(config.sum_width)),
                "shift": In(shape(config, "stat_shift")),
                "bus": Out(w),
                "late": Out(w),
                "code_write": Out(1),
                "code_address": Out(range(config.max_columns)),
                "code": Out(signed(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt, word = self.config.vector, self.word
        w = fmt.width
        p, q = Signal(w), Signal(w)
        largest = Signal(w - 1)
        m.submodules.multiply = multiply = FloatMultiplier(fmt)
        m.submodules.add = add = FloatAdder(fmt)
        m.submodules.sigmoid = sigmoid = Sigmoid(fmt)
        m.submodules.rsqrt = rsqrt = Rsqrt(fmt)
        total = self._squares(m, largest)
        converted = self._convert(m, largest, total)
        m.d.comb += [unit.a.eq(p) for unit in (multiply, add, sigmoid, rsqrt)]
        m.d.comb += [unit.b.eq(q) for unit in (multiply, add)]
        sources = {
            Source.MEMORY: self.memory,
            Source.CONSTANT: self.constant,
            Source.PRODUCT: multiply.o,
            Source.SUM: add.o,
            Source.SIGMOID: sigmoid.o,
            Source.ROOT: rsqrt.o,
            Source.CONVERTED: converted,
            Source.IMMEDIATE: self.immediate,
            Source.LARGEST: largest,
        }
        chosen = Signal(w)
        with m.Switch(word.source):
            for source, value in sources.items():
                with m.Case(source):
                    m.d.comb += chosen.eq(value)
        m.d.comb += self.bus.eq(Cat(chosen[:-1], chosen[-1] ^ word.negate))
        m.d.sync += self.late.eq(self.bus)
        with m.If(word.to == To.P):
            m.d.sync += p.eq(self.bus)
        with m.If(word.to == To.Q):
            m.d.sync += q.eq(self.bus)

        kept = delayed(m, word.to == To.LARGEST, 1, "kept", reset=True)
        with m.If(word.to == To.CLEAR):
            m.d.sync += largest.eq(0)
        with m.Elif(kept & (self.late[:-1] > largest)):
            m.d.sync += largest.eq(self.late)
        self._codes(m, largest)
        return m

    def _codes(self, m: Module, largest: Value) -> None:
        fmt, word = self.config.vector, self.word
        m.submodules.reciprocal = reciprocal = CodeReciprocal(fmt)
        m.submodules.quantise = quantise = CodeQuantiser(fmt)
        m.d.comb += [
            reciprocal.a.eq(largest),
            quantise.a.eq(self.late),
            quantise.reciprocal.eq(reciprocal.reciprocal),
            quantise.exponent.eq(reciprocal.exponent),
            self.code.eq(quantise.o),
            self.code_write.eq(
                delayed(m, word.to == To.CODE, 1 + quantise.latency, "coded", reset=True)
            ),
        ]
        with m.If(word.to == To.CLEAR):
            m.d.sync += self.code_address.eq(-1)  # the zero before the products is no code
        with m.Elif(self.code_write):
            m.d.sync += self.code_address.eq(self.code_address + 1)

    def _squares(self, m: Module, largest: Value) -> Value:
        """Sum of squares, of block magnitudes or of rows' leading bits."""
        fmt = self.config.vector
        x = Fields(fmt, self.late)
        of_row = delayed(m, self.word.to == To.ROW_SQUARE, 1, "of_row", reset=True)
        of_float = delayed(m, self.word.to == To.SQUARE, 1, "of_float", reset=True)
        width = max(SQUARE_BITS, len(self.row))
        sign = of_row & self.row[-1]
        distance = Signal(signed(fmt.exponent + 1))
        m.d.comb += distance.eq(largest[fmt.mantissa :] - x.exponent)
        block = Cat(Const(0, SQUARE_BITS - 1 - fmt.mantissa), x.significand)
        # A negative row is shifted as its complement, and its magnitude is one more.
        start = Signal(width)
        row = self.row.as_unsigned() ^ sign.replicate(len(self.row))
        m.d.comb += start.eq(Mux(of_row, row, block))
        placed = shift_right(m, start, Mux(of_row, self.shift, distance[:4]), name="placed")
        out = ~of_row & (distance[4:].any() | ~x.nonzero)
        size = pipe(m, Mux(out, 0, placed[:SQUARE_BITS] + sign)[:SQUARE_BITS], "size")
        square = pipe(m, size * size, "square")
        total = Signal(2 * SQUARE_BITS + (self.config.max_columns - 1).bit_length())
        valid = delayed(m, of_row | of_float, 2, "squared", reset=True)
        with m.If(self.word.to == To.CLEAR):
            m.d.sync += total.eq(0)
        with m.Elif(valid):
            m.d.sync += total.eq(total + square)
        return total

    def _convert(self, m: Module, largest: Value, total: Signal) -> Value:
        fmt, what = self.config.vector, self.word.convert
        m.submodules.convert = convert = FloatFromInt(fmt, len(total) + 1, scaled=True)
        m.d.comb += convert.a.eq(Mux(what == Convert.ROW, self.row, Cat(total, Const(0, 1))))
        with m.Switch(what):
            with m.Case(Convert.SUM):
                offset = largest[fmt.mantissa :] - (fmt.bias + SQUARE_FRACTION)
                m.d.comb += convert.exponent.eq(offset << 1)
            with m.Case(Convert.ROW_SUM):
                m.d.comb += convert.exponent.eq(self.shift << 1)
        return convert.o


assert STAT_BITS <= SQUARE_BITS
