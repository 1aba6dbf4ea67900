"""Kernels: what one lane does to a row of the array (SiLU, MLGRU, GLU, residual)."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.formats import Format
from setun.firmware.isa import Kernel
from setun.hw.arith import FloatAdder, FloatMultiplier, Sigmoid
from setun.hw.pipeline import delayed


class KernelLane(wiring.Component):
    """One lane of the elementwise pipeline behind the array.

    Members
    -------
    kernel : In(3)
        `Kernel` of the element, constant from its entry to its exit.
    y, a, h, c : In(fmt.width)
        Row, operand from memory, old state, 1 - lower bound.
    o : Out(fmt.width)
        COPY y; SILU y*s(y); ADD a + y; GLU y*(a*s(a));
        MLGRU (1-u)*h + u*a with u = c*s(-y). Each product and sum is rounded.

    Latency `latency` cycles for every kernel, throughput one element per cycle. Four multipliers,
    two adders, one sigmoid. (MatMul-free LM, arXiv 2406.02528, equations 9-11.)
    """

    latency = Sigmoid.latency + 2 * FloatMultiplier.latency + 2 * FloatAdder.latency

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        w = fmt.width
        super().__init__(
            {"kernel": In(3), "y": In(w), "a": In(w), "h": In(w), "c": In(w), "o": Out(w)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt = self.fmt
        m.submodules.sigmoid = sigmoid = Sigmoid(fmt)
        m.submodules.gate = gate = FloatMultiplier(fmt)
        m.submodules.blend = blend = FloatMultiplier(fmt)
        m.submodules.forget = forget = FloatMultiplier(fmt)
        m.submodules.complement = complement = FloatAdder(fmt)
        m.submodules.join = join = FloatAdder(fmt)

        sign = 1 << (fmt.width - 1)
        one = fmt.bias << fmt.mantissa
        k0, y0, a0 = self.kernel, self.y, self.a
        silu_of_a = k0 == Kernel.GLU
        negated = Mux(k0 == Kernel.MLGRU, sign, 0)
        m.d.comb += sigmoid.a.eq(Mux(silu_of_a, a0, y0) ^ negated)

        n = Sigmoid.latency
        k1, y1, a1, h1, c1 = (
            delayed(m, value, n, f"{name}1")
            for name, value in (("k", k0), ("y", y0), ("a", a0), ("h", self.h), ("c", self.c))
        )
        with m.Switch(k1):
            with m.Case(Kernel.MLGRU):
                m.d.comb += gate.b.eq(c1)
            with m.Case(Kernel.GLU):
                m.d.comb += gate.b.eq(a1)
            with m.Default():
                m.d.comb += gate.b.eq(y1)
        m.d.comb += gate.a.eq(sigmoid.o)

        n = FloatMultiplier.latency
        k2, y2, a2, h2 = (
            delayed(m, value, n, f"{name}2")
            for name, value in (("k", k1), ("y", y1), ("a", a1), ("h", h1))
        )
        m.d.comb += [
            blend.a.eq(gate.o),
            blend.b.eq(Mux(k2 == Kernel.GLU, y2, a2)),
            complement.a.eq(one),
            complement.b.eq(gate.o ^ sign),
        ]
        # What goes on to the last adder: the row itself, silu(row) or, later, blend's product.
        through2 = Mux(k2 == Kernel.SILU, gate.o, y2)

        k3, a3, through3 = (
            delayed(m, value, n, f"{name}3")
            for name, value in (("k", k2), ("a", a2), ("through", through2))
        )
        blended = (k3 == Kernel.GLU) | (k3 == Kernel.MLGRU)
        through3 = Mux(blended, blend.o, through3)
        m.d.comb += [
            forget.a.eq(complement.o),
            forget.b.eq(delayed(m, h2, FloatAdder.latency, "h4")),
        ]
        n = FloatAdder.latency
        k5, a5, through5 = (
            delayed(m, value, n, f"{name}5")
            for name, value in (("k", k3), ("a", a3), ("through", through3))
        )
        with m.Switch(k5):
            with m.Case(Kernel.MLGRU):
                m.d.comb += join.b.eq(forget.o)
            with m.Case(Kernel.ADD):
                m.d.comb += join.b.eq(a5)
        m.d.comb += [join.a.eq(through5), self.o.eq(join.o)]
        return m
