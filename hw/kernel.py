"""Kernels: what one lane does to a row of the array (SiLU, MLGRU, GLU, residual)."""

from typing import ClassVar

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.isa import Kernel
from setun.firmware.numerics import Numerics
from setun.hw.arith import PRODUCT_LATENCY, FloatAdder, Sigmoid, multiplier
from setun.hw.pipeline import delayed


class KernelLane(wiring.Component):
    """One lane of the elementwise pipeline behind the array.

    Members
    -------
    kernel : In(3)
        `Kernel` of the element, constant from `EARLY` + 1 cycles before its entry to its exit.
    y, h, c : In(fmt.width)
        Row, old state, 1 - lower bound.
    a : In(fmt.width)
        Operand from memory, `EARLY` cycles before the others: silu(a) is made meanwhile.
    o : Out(fmt.width)
        COPY y; SILU y*s(y); ADD a + y; GLU y*(a*s(a));
        MLGRU (1-u)*h + u*a with u = c*s(-y). Each product and sum is rounded.

    Latency `LATENCY[kernel]` cycles, throughput one element per cycle. Elements of kernels with
    different latencies must not be under way together. Three multipliers, two adders, one
    sigmoid. (MatMul-free LM, arXiv 2406.02528, equations 9-11.)
    """

    EARLY = 3
    _blended = Sigmoid.latency + 2 * PRODUCT_LATENCY
    LATENCY: ClassVar[dict[Kernel, int]] = {
        Kernel.COPY: FloatAdder.latency,
        Kernel.ADD: FloatAdder.latency,
        Kernel.SILU: Sigmoid.latency + PRODUCT_LATENCY,
        Kernel.GLU: _blended - EARLY,
        Kernel.MLGRU: _blended + 2 * FloatAdder.latency,
    }

    def __init__(self, numerics: Numerics) -> None:
        self.numerics, self.fmt = numerics, numerics.vector
        w = self.fmt.width
        super().__init__(
            {"kernel": In(3), "y": In(w), "a": In(w), "h": In(w), "c": In(w), "o": Out(w)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt = self.fmt
        m.submodules.sigmoid = sigmoid = Sigmoid(fmt)
        m.submodules.gate = gate = multiplier(self.numerics)
        m.submodules.blend = blend = multiplier(self.numerics)
        m.submodules.forget = forget = multiplier(self.numerics)
        m.submodules.complement = complement = FloatAdder(fmt)
        m.submodules.join = join = FloatAdder(fmt)
        sign = 1 << (fmt.width - 1)
        one = fmt.bias << fmt.mantissa
        glu, gated, adding, adds = (Signal(name=n) for n in ("glu", "gated", "adding", "adds"))
        m.d.sync += [
            glu.eq(self.kernel == Kernel.GLU),
            gated.eq(self.kernel == Kernel.MLGRU),
            adding.eq(self.kernel == Kernel.ADD),
            adds.eq((self.kernel == Kernel.ADD) | (self.kernel == Kernel.COPY)),
        ]

        # Times count from y's entry; with GLU the gate starts `EARLY` cycles before.
        at_gate = Sigmoid.latency
        at_blend = at_gate + PRODUCT_LATENCY
        after_blend = at_blend + PRODUCT_LATENCY
        at_forget = at_blend + FloatAdder.latency
        at_join = at_forget + PRODUCT_LATENCY
        y = self._line(m, self.y, at_gate, "y")
        a = self._line(m, self.a, self.EARLY + at_blend, "a")
        h = self._line(m, self.h, at_forget, "h")
        c = self._line(m, self.c, at_gate, "c")
        blended = delayed(m, blend.o, at_join - after_blend, "blended")
        m.d.comb += [
            sigmoid.a.eq(Mux(glu, self.a, self.y ^ Mux(gated, sign, 0))),
            gate.a.eq(sigmoid.o),
            gate.b.eq(Mux(glu, a[at_gate], Mux(gated, c[at_gate], y[at_gate]))),
            blend.a.eq(gate.o),
            blend.b.eq(Mux(glu, y[at_blend - self.EARLY], a[self.EARLY + at_blend])),
            complement.a.eq(one),
            complement.b.eq(gate.o ^ sign),
            forget.a.eq(complement.o),
            forget.b.eq(h[at_forget]),
            join.a.eq(Mux(gated, blended, self.y)),
            join.b.eq(Mux(gated, forget.o, Mux(adding, a[self.EARLY], 0))),
            self.o.eq(Mux(adds | gated, join.o, Mux(glu, blend.o, gate.o))),
        ]
        return m

    @staticmethod
    def _line(m: Module, value: Value, cycles: int, name: str) -> list[Value]:
        """`value` and its delays by 1 to `cycles` cycles."""
        line = [value]
        for k in range(cycles):
            line.append(delayed(m, line[-1], 1, f"{name}{k + 1}"))
        return line
