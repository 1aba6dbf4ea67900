"""Kernels: what one lane does to a row of the array (SiLU, MLGRU, GLU, residual)."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.numerics.noise import NOISE_BITS
from setun.firmware.numerics.options import Numerics
from setun.firmware.program.isa import Kernel
from setun.hw.arith import PRODUCT_LATENCY, FloatAdder, Narrow, Sigmoid, multiplier, widened
from setun.hw.pipeline import delayed
from setun.hw.vector.forget import Forget


def kernel_latency(numerics: Numerics) -> dict[Kernel, int]:
    """Cycles from a row's entry into `KernelLane` to its exit."""
    blended = Sigmoid.latency + 2 * PRODUCT_LATENCY
    gate = Sigmoid.latency + PRODUCT_LATENCY
    wider = numerics.state.mantissa > numerics.vector.mantissa
    narrows = (numerics.wide != numerics.state) + wider
    return {
        Kernel.COPY: FloatAdder.latency,
        Kernel.ADD: FloatAdder.latency,
        Kernel.SILU: gate,
        Kernel.GLU: blended - KernelLane.EARLY,
        Kernel.MLGRU: gate
        + Forget.latency(numerics)
        + FloatAdder.latency
        + narrows * Narrow.latency,
    }


class KernelLane(wiring.Component):
    """One lane of the elementwise pipeline behind the array.

    Members
    -------
    kernel : In(3)
        `Kernel` of the element, constant from `EARLY` + 1 cycles before its entry to its exit.
    y, c : In(vector width), h : In(state width)
        Row, 1 - lower bound, old state.
    a : In(vector width)
        Operand from memory, `EARLY` cycles before the others: silu(a) is made meanwhile.
    noise : In(NOISE_BITS)
        Only if the state is rounded at random: one cycle before the exit, or two where the state
        is wider than vectors.
    o : Out(vector width)
        COPY y; SILU y*s(y); ADD a + y; GLU y*(a*s(a));
        MLGRU (1-u)*h + u*a with u = c*s(-y). Each product and sum is rounded.
    state : Out(state width)
        MLGRU's result as the state keeps it; `o` is this, rounded if vectors are narrower.

    Latency `kernel_latency`, throughput one element per cycle. Elements of kernels with
    different latencies must not be under way together. Three multipliers, two adders, one
    sigmoid; an adder more if the state is computed in another format than vectors, and with L-Mul.
    (MatMul-free LM, arXiv 2406.02528, equations 9-11.)
    """

    EARLY = 3

    def __init__(self, numerics: Numerics) -> None:
        self.numerics, self.fmt = numerics, numerics.vector
        w = self.fmt.width
        members = {
            "kernel": In(3),
            "y": In(w),
            "a": In(w),
            "h": In(numerics.state.width),
            "c": In(w),
            "o": Out(w),
            "state": Out(numerics.state.width),
        }
        if numerics.stochastic:
            members["noise"] = In(NOISE_BITS)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n, fmt = self.numerics, self.fmt
        m.submodules.sigmoid = sigmoid = Sigmoid(fmt, adders=n.lmul)
        m.submodules.gate = gate = multiplier(n)
        m.submodules.blend = blend = multiplier(n)
        m.submodules.forget = forget = Forget(n)
        m.submodules.join = join = FloatAdder(n.wide)
        sign = 1 << (fmt.width - 1)
        glu, gated, adding, adds = (Signal(name=x) for x in ("glu", "gated", "adding", "adds"))
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
        at_join = at_blend + Forget.latency(n)
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
            forget.u.eq(gate.o),
            forget.h.eq(h[at_forget]),
        ]
        operand = Mux(adding, a[self.EARLY], 0)
        remembered = self._state(m, join.o)
        if n.wide == fmt:
            added: Value = join.o
            m.d.comb += [
                join.a.eq(Mux(gated, blended, self.y)),
                join.b.eq(Mux(gated, forget.o, operand)),
            ]
        else:
            m.submodules.add = add = FloatAdder(fmt)
            added = add.o
            m.d.comb += [
                join.a.eq(widened(blended, fmt, n.wide)),
                join.b.eq(forget.o),
                add.a.eq(self.y),
                add.b.eq(operand),
            ]
        m.d.comb += self.o.eq(Mux(adds, added, Mux(gated, remembered, Mux(glu, blend.o, gate.o))))
        return m

    def _state(self, m: Module, total: Value) -> Value:
        """The new state to `state`; what vectors get of it, returned with the same delay."""
        n, fmt, state = self.numerics, self.fmt, self.numerics.state
        if n.wide != state:
            m.submodules.round = narrow = Narrow(n.wide, state, stochastic=n.stochastic)
            m.d.comb += narrow.a.eq(total)
            if n.stochastic:
                m.d.comb += narrow.noise.eq(self.noise)
            total = narrow.o
        if state.mantissa <= fmt.mantissa:
            m.d.comb += self.state.eq(total)
            return widened(total, state, fmt)
        m.submodules.shorten = shorten = Narrow(state, fmt)
        m.d.comb += [shorten.a.eq(total), self.state.eq(delayed(m, total, Narrow.latency, "kept"))]
        return shorten.o

    @staticmethod
    def _line(m: Module, value: Value, cycles: int, name: str) -> list[Value]:
        """`value` and its delays by 1 to `cycles` cycles."""
        line = [value]
        for k in range(cycles):
            line.append(delayed(m, line[-1], 1, f"{name}{k + 1}"))
        return line
