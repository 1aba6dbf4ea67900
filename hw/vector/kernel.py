"""Kernels: what one lane does to a row of the array (SiLU, MLGRU, GLU, residual)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.core_kinds import PARALLEL
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.noise import NOISE_BITS
from setun.firmware.numerics.options import Numerics
from setun.firmware.program import kernels
from setun.firmware.program.isa import PLACES
from setun.firmware.program.kernels import Kernel, Operands, Step
from setun.firmware.program.registry import Registry
from setun.hw.arith import PRODUCT_LATENCY, FloatAdder, Narrow, Sigmoid, multiplier, widened
from setun.hw.pipeline import delayed
from setun.hw.vector.forget import Forget

CHOICE = 1  # cycles of choosing what is added: the flag that says so comes from far


class Operand(Enum):
    """What may enter a unit of the lane."""

    ROW = "row"
    MINUS_ROW = "row, negated"
    SOURCE = "operand from memory"
    GATE = "1 - lower bound"


class Exit(Enum):
    """The unit whose result leaves the lane."""

    SUM = "sum"
    GATE = "product with the sigmoid"
    BLEND = "product with that"
    STATE = "state"


@dataclass(frozen=True, kw_only=True)
class Route:
    """A kernel's way through the lane's units.

    Parameters
    ----------
    exit
        Where it leaves.
    adds
        SUM adds the operand from memory, instead of 0.
    sigmoid, gate, blend
        What enters the sigmoid, is multiplied with it, and with the product.
    positive
        The operand from memory, 0 if it is negative, stands for the sigmoid.
    """

    exit: Exit
    adds: bool = False
    positive: bool = False
    sigmoid: Operand = Operand.ROW
    gate: Operand = Operand.ROW
    blend: Operand = Operand.SOURCE

    @property
    def ahead(self) -> bool:
        """Whether the sigmoid begins before the row is there, with the operand from memory."""
        return self.sigmoid is Operand.SOURCE


ROUTES: Registry[Kernel, Route] = Registry("the kernel lane")
ROUTES[kernels.COPY] = Route(exit=Exit.SUM)
ROUTES[kernels.ADD] = Route(exit=Exit.SUM, adds=True)
ROUTES[kernels.SILU] = Route(exit=Exit.GATE)
ROUTES[kernels.MLGRU] = Route(exit=Exit.STATE, sigmoid=Operand.MINUS_ROW, gate=Operand.GATE)
ROUTES[kernels.GLU] = Route(
    exit=Exit.BLEND, sigmoid=Operand.SOURCE, gate=Operand.SOURCE, blend=Operand.ROW
)
ROUTES[kernels.RELU2] = replace(ROUTES[kernels.GLU], positive=True)


def step_latency(numerics: Numerics) -> dict[Step, int]:
    """Cycles of each step of a kernel's path."""
    wider = numerics.state.mantissa > numerics.vector.mantissa
    narrows = (numerics.wide != numerics.state) + wider
    return {
        Step.SIGMOID: Sigmoid.latency,
        Step.PRODUCT: PRODUCT_LATENCY,
        Step.SUM: CHOICE + FloatAdder.latency,
        Step.STATE_SUM: CHOICE + FloatAdder.latency,
        Step.FORGET: Forget.latency(numerics),
        Step.ROUND: narrows * Narrow.latency,
    }


def kernel_latency(numerics: Numerics) -> dict[Kernel, int]:
    """Cycles from a row's entry into `KernelLane` to its exit; 0 for what passes it by."""
    steps = step_latency(numerics)
    return {
        kernel: sum(steps[step] for step in kernel.path) - KernelLane.EARLY * kernel.ahead
        for kernel in kernels.KERNELS
    }


class _Which:
    """Registered flags of the kernel in a lane; one register for each set of kernels."""

    def __init__(self, m: Module, kernel: Value, routes: Mapping[Kernel, Route]) -> None:
        self.m, self.kernel, self.routes = m, kernel, routes
        self.flags: dict[frozenset[int], Signal] = {}

    def __call__(self, name: str, test: Callable[[Route], bool]) -> Signal:
        """Whether the kernel's route passes `test`."""
        codes = frozenset(kernel.code for kernel, route in self.routes.items() if test(route))
        if codes not in self.flags:
            self.flags[codes] = flag = Signal(name=name)
            self.m.d.sync += flag.eq(self.kernel.matches(*sorted(codes)))
        return self.flags[codes]


class _Line:
    """A value and its delays, each made when it is asked for."""

    def __init__(self, m: Module, value: Value, name: str) -> None:
        self.m, self.name = m, name
        self.values = [value]

    def __getitem__(self, cycles: int) -> Value:
        while len(self.values) <= cycles:
            name = f"{self.name}{len(self.values)}"
            self.values.append(delayed(self.m, self.values[-1], 1, name))
        return self.values[cycles]


class KernelLane(wiring.Component):
    """One lane of the elementwise pipeline behind the array.

    Parameters
    ----------
    numerics
        Formats and products.
    kernels
        Those of the chip's core.

    Members
    -------
    kernel : In
        Code of the element's kernel, constant from `EARLY` + 1 cycles before its entry to its exit.
    y, c : In(vector width), h : In(state width)
        Row, 1 - lower bound, old state.
    a : In(vector width)
        Operand from memory, `EARLY` cycles before the others: silu(a) is made meanwhile.
    noise : In(NOISE_BITS)
        Only if the state is rounded at random: one cycle before the exit, or two where the state
        is wider than vectors.
    o : Out(vector width)
        COPY y; SILU y*s(y); ADD a + y; GLU y*(a*s(a)); RELU2 y*(a*max(a, 0));
        MLGRU (1-u)*h + u*a with u = c*s(-y). Each product and sum is rounded.
    state : Out(state width)
        MLGRU's result as the state keeps it; `o` is this, rounded if vectors are narrower.

    Latency `kernel_latency`, throughput one element per cycle. Elements of kernels with
    different latencies must not be under way together. Three multipliers, two adders, one
    sigmoid; an adder more if the state is computed in another format than vectors, and with L-Mul.
    (MatMul-free LM, arXiv 2406.02528, equations 9-11.)
    """

    EARLY = 3

    def __init__(self, numerics: Numerics, kernels: Sequence[Kernel] | None = None) -> None:
        self.numerics, self.fmt = numerics, numerics.vector
        known = PARALLEL.kernels if kernels is None else kernels
        self.routes = {kernel: ROUTES[kernel] for kernel in known if kernel.stores}
        w = self.fmt.width
        members = {
            "kernel": In(PLACES["kernel"].bits),
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

    def model(
        self,
        kernel: Kernel,
        y: ArrayLike,
        a: ArrayLike,
        h: ArrayLike,
        c: ArrayLike,
        noise: ArrayLike = 0,
    ) -> tuple[Ints, Ints]:
        """Bits of `o` and of `state`, which is 0 unless the kernel keeps one, for arrays of bits.

        What rounds the state (`noise`) belongs to each element.
        """
        n, fmt, compute = self.numerics, self.fmt, Arithmetic(self.numerics)
        row, operand, gate = fmt.from_bits(y), fmt.from_bits(a), fmt.from_bits(c)
        random = np.asarray(noise, np.int64) if n.stochastic else None
        given = Operands(row, operand, gate, n.state.from_bits(h), random)
        made = kernel.meaning(compute, given)
        kept = made if kernel.gated else np.zeros(row.shape)
        return fmt.to_bits(compute.r(made)).astype(np.int64), n.state.to_bits(kept).astype(np.int64)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n, fmt = self.numerics, self.fmt
        m.submodules.sigmoid = sigmoid = Sigmoid(fmt, adders=n.lmul)
        m.submodules.gate = gate = multiplier(n)
        m.submodules.blend = blend = multiplier(n)
        m.submodules.forget = forget = Forget(n)
        m.submodules.join = join = FloatAdder(n.wide)
        sign = 1 << (fmt.width - 1)
        which = _Which(m, self.kernel, self.routes)
        adds = which("adds", lambda route: route.exit is Exit.SUM)
        adding = which("adding", lambda route: route.adds)
        gated = which("gated", lambda route: route.exit is Exit.STATE)
        blends = which("blends", lambda route: route.exit is Exit.BLEND)
        minus = which("minus", lambda route: route.sigmoid is Operand.MINUS_ROW)
        ahead = which("ahead", lambda route: route.ahead)

        # Times count from the entry of what the sigmoid takes.
        at_gate = Sigmoid.latency
        at_blend = at_gate + PRODUCT_LATENCY
        after_blend = at_blend + PRODUCT_LATENCY
        at_forget = at_blend + FloatAdder.latency
        at_join = at_blend + Forget.latency(n)
        y, a, h, c = (_Line(m, getattr(self, name), name) for name in "yahc")

        def late(operand: Operand, time: int, ahead: bool) -> Value:
            time -= self.EARLY if ahead else 0
            if operand is Operand.SOURCE:
                return a[self.EARLY + time]
            return (c if operand is Operand.GATE else y)[time]

        def entering(unit: str, time: int, exits: set[Exit]) -> Value:
            """What kernels that leave at or behind a unit multiply with there."""
            routes = [route for route in self.routes.values() if route.exit in exits]
            ways = dict.fromkeys((getattr(route, unit), route.ahead) for route in routes)
            value: Value = Const(0, fmt.width)
            for number, way in enumerate(ways):
                mine = late(way[0], time, way[1])
                if number == 0:
                    value = mine
                    continue
                chosen = which(
                    f"{unit}{number}",
                    lambda route, way=way: (  # type: ignore[misc]
                        route.exit in exits and (getattr(route, unit), route.ahead) == way
                    ),
                )
                value = Mux(chosen, mine, value)
            return value

        blended = delayed(m, blend.o, at_join - after_blend, "blended")
        m.d.comb += [
            sigmoid.a.eq(Mux(ahead, self.a, self.y ^ Mux(minus, sign, 0))),
            gate.a.eq(sigmoid.o),
            gate.b.eq(entering("gate", at_gate, {Exit.GATE, Exit.BLEND, Exit.STATE})),
            blend.a.eq(gate.o),
            blend.b.eq(entering("blend", at_blend, {Exit.BLEND, Exit.STATE})),
            forget.u.eq(gate.o),
            forget.h.eq(h[at_forget]),
        ]
        if any(route.positive for route in self.routes.values()):
            positive = which("positive", lambda route: route.positive)
            source = a[at_gate]
            m.d.comb += gate.a.eq(Mux(positive, Mux(source[-1], 0, source), sigmoid.o))
        operand = Mux(adding, a[self.EARLY], 0)
        remembered = self._state(m, join.o)
        if n.wide == fmt:
            added: Value = join.o
            m.d.comb += [
                join.a.eq(delayed(m, Mux(gated, blended, self.y), CHOICE, "join_a")),
                join.b.eq(delayed(m, Mux(gated, forget.o, operand), CHOICE, "join_b")),
            ]
        else:
            m.submodules.add = add = FloatAdder(fmt)
            added = add.o
            m.d.comb += [
                join.a.eq(widened(delayed(m, blended, CHOICE, "join_a"), fmt, n.wide)),
                join.b.eq(delayed(m, forget.o, CHOICE, "join_b")),
                add.a.eq(delayed(m, self.y, CHOICE, "add_a")),
                add.b.eq(delayed(m, operand, CHOICE, "add_b")),
            ]
        product = Mux(blends, blend.o, gate.o)
        m.d.comb += self.o.eq(Mux(adds, added, Mux(gated, remembered, product)))
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
