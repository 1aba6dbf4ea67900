"""Every layer has every operation and kernel: what is added must be added everywhere."""

from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from setun.estimate import cycles, small
from setun.firmware.config import ChipConfig
from setun.firmware.core_kinds import NORMING
from setun.firmware.core_kinds import SMALL as SMALL_CORE
from setun.firmware.errors import SetunError
from setun.firmware.image import file
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import Space, lay_out, sized_for
from setun.firmware.link.messages import Reason
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics
from setun.firmware.program import kernels, machine, verify
from setun.firmware.program.builder import Builder
from setun.firmware.program.isa import PLACES, WORDS, Op
from setun.firmware.program.kernels import Compute, Kernel, Operands, Port, Step
from setun.firmware.program.registry import Registry
from setun.hw.control import sequencer
from setun.hw.core import Core
from setun.hw.small import control, microcode
from setun.hw.small.core import SmallCore
from setun.hw.vector import kernel as lane
from setun.hw.vector.kernel import KernelLane, Operand, Route, kernel_latency
from setun.models.random import random_image
from setun.sim import folded
from setun.sim.folded import FoldedModel
from setun.sim.golden import GoldenModel

VISITORS: dict[str, type[machine.Visitor]] = {
    "golden": GoldenModel,
    "folded": folded._Run,
    "verify": verify._Walk,
    "estimate": cycles.Schedule,
    "estimate of the small core": small._Cycles,
}
OPERATIONS: dict[str, Registry[Op, Any]] = {
    "the core": sequencer.EXECUTES,
    "the small core": control.DECODES,
}
CORES = {"the core": NORMING, "the small core": SMALL_CORE}
LAYERS: dict[str, Registry[Kernel, Any]] = {
    "the core's lanes": lane.ROUTES,
    "the small core's microprogram": microcode.ROWS,
}
SMALL = ChipConfig(
    columns=1,
    rows=10,
    lanes=1,
    packing="1.6b",
    memory="spram-16",
    terminal=0,
    numerics=Numerics(vector=Format(6, 9)),
)
CONFIG = ChipConfig(columns=4, rows=4, lanes=1, terminal=0, numerics=Numerics(vector=Format(6, 9)))


async def stream_put(ctx: Any, port: Any, payload: Any) -> None:
    """Hand over one item."""
    ctx.set(port.payload, payload)
    ctx.set(port.valid, 1)
    await ctx.tick().until(port.ready)
    ctx.set(port.valid, 0)


async def stream_get(ctx: Any, port: Any) -> Any:
    """Take one item."""
    ctx.set(port.ready, 1)
    (payload,) = await ctx.tick().sample(port.payload).until(port.valid)
    ctx.set(port.ready, 0)
    return payload


def _gate(compute: Compute, x: Operands) -> Any:
    return compute.mul(x.source, compute.sigmoid(x.row))


GATE = Kernel(
    code=7,
    name="GATE",
    formula="source · sigmoid(y)",
    listing="v[{dst}:+{n}] = v[{src}]*sigmoid(y)",
    meaning=_gate,
    path=(Step.SIGMOID, Step.PRODUCT),
    reads=frozenset({Port.SOURCE}),
    writes=frozenset({Port.DESTINATION}),
)
"""One kernel more, of units that the chips have."""


def _gate_words(a: microcode._Assembler, again: dict[str, Any]) -> None:
    microcode._scaled(a)
    a.op(microcode.Source.PRODUCT, microcode.To.P)
    a.idle(4)
    a.op(read=microcode.Where.SOURCE)
    a.op(microcode.Source.SIGMOID, microcode.To.P, read=microcode.Where.SOURCE)
    a.op(microcode.Source.MEMORY, microcode.To.Q)
    a.idle(2)
    a.op(microcode.Source.PRODUCT, write=microcode.Where.DESTINATION, **again)


def lacking() -> list[str]:
    """What a layer lacks of the kernels: "layer: kernel"."""
    every = {
        "the core's lanes": [kernel for kernel in NORMING.kernels if kernel.stores],
        "the small core's microprogram": SMALL_CORE.kernels,
    }
    return [f"{name}: {each}" for name in LAYERS for each in LAYERS[name].lacks(every[name])]


def test_every_layer_has_every_operation() -> None:
    visitors = {name: machine.lacks(visitor) for name, visitor in VISITORS.items()}
    layers = {name: layer.lacks(CORES[name].operations) for name, layer in OPERATIONS.items()}
    assert not any(visitors.values()) and not any(layers.values()), visitors | layers


def test_what_a_core_is_without_has_no_unit() -> None:
    for name, core in CORES.items():
        missing = {op.name for op in Op if not core.has(op)}
        assert missing == set(OPERATIONS[name].lacks(Op))
    rows = {kernel.name for kernel in kernels.KERNELS if not SMALL_CORE.has(kernel)}
    assert rows == set(microcode.ROWS.lacks(kernels.KERNELS))
    routes = {kernel.name for kernel in kernels.KERNELS if not NORMING.has(kernel)}
    assert routes == set(lane.ROUTES.lacks([k for k in kernels.KERNELS if k.stores]))


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_layer_without_an_operation_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = OPERATIONS[name]
    monkeypatch.delitem(layer, Op.EMBED)
    assert layer.lacks(CORES[name].operations) == ["EMBED"]
    with pytest.raises(SetunError, match=f"{layer.layer}: has nothing for it; found EMBED"):
        layer[Op.EMBED]


def test_a_visitor_without_an_operation_cannot_be_defined() -> None:
    with pytest.raises(SetunError, match="Half: must have a method for every operation; found EMB"):
        type("Half", (machine.Visitor,), dict.fromkeys(("model", "scalars"), machine.nothing))


def test_every_layer_has_every_kernel() -> None:
    assert lacking() == []
    assert set(kernel_latency(Numerics())) == set(kernels.KERNELS)
    for kernel, route in lane.ROUTES.items():
        assert kernel.ahead == route.ahead, kernel


def test_a_kernel_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is registered: by those who read files and programs; afterwards by each layer."""
    image = gated(64)
    with pytest.raises(SetunError, match="MATVEC gate: must be a kernel of the chip's; found GATE"):
        verify.verify(image, "image")
    monkeypatch.setattr(kernels, "KERNELS", [*kernels.KERNELS, GATE])
    verify.verify(image, "image")
    assert lacking() == [f"{name}: GATE" for name in LAYERS]
    with pytest.raises(SetunError, match="the small core's rows: has nothing for it; found GATE"):
        microcode.microprogram()


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """GATE in all layers: its record, a lane's route, words of the microprogram."""
    monkeypatch.setattr(kernels, "KERNELS", [*kernels.KERNELS, GATE])
    monkeypatch.setitem(lane.ROUTES, GATE, Route(exit=lane.Exit.GATE, gate=Operand.SOURCE))
    monkeypatch.setitem(microcode.ROWS, GATE, _gate_words)


def gated(width: int) -> Image:
    """A model of one layer: x = W(x) into GATE with x, and a head."""
    rng = np.random.default_rng(width)
    b = Builder("gated")
    x = b.vector("x", width)
    b.scalars(1e-5, 1e-6)
    b.embed(rng.standard_normal((9, width)).astype(np.float32), x, "embeddings")
    b.layer("layer")
    b.quantise("gate", x, np.ones(width, np.float32))
    b.project("gate", rng.standard_normal((width, width)).astype(np.float32), GATE, src=x, dst=x)
    b.end()
    b.quantise("head", x, np.ones(width, np.float32))
    b.project("head", rng.standard_normal((9, width)).astype(np.float32), kernels.SAMPLE)
    b.end()
    return b.image()


def test_a_registered_kernel_works_in_every_layer(everywhere: None) -> None:
    assert lacking() == []
    image = file.parse(file.dump(gated(64))).image
    listing = "\n".join(map(str, image.program))
    assert "v[0:+64] = v[0]*sigmoid(y)" in listing
    golden, float_model = GoldenModel(image, Numerics()), FoldedModel(image)
    ids = np.array([[3, 1, 4]])
    for token in ids[0]:
        golden.feed(int(token))
    np.testing.assert_allclose(
        golden.logits(), float_model.forward_batch(ids)[0, -1], rtol=0.05, atol=0.05
    )
    config = sized_for(image, CONFIG)
    assert cycles.cycles_per_token(image, config, 1) > 0
    row, behind = microcode.row_words(GATE)
    assert (row, behind) == (16, 1)
    assert len(microcode.microprogram()) <= microcode.WORDS


def test_a_registered_kernel_is_what_the_lane_computes(everywhere: None) -> None:
    numerics = CONFIG.numerics
    unit, fmt = KernelLane(numerics), numerics.vector
    rng = np.random.default_rng(5)
    y, a = (fmt.to_bits(rng.standard_normal(60)).astype(np.int64) for _ in range(2))
    want, _ = unit.model(GATE, y, a, 0 * y, 0 * y)
    latency = kernel_latency(numerics)[GATE]
    got = []

    async def bench(ctx: Any) -> None:
        ctx.set(unit.kernel, GATE.code)
        for cycle in range(len(y) + KernelLane.EARLY + latency):
            late = cycle - KernelLane.EARLY
            ctx.set(unit.a, int(a[cycle]) if cycle < len(a) else 0)
            ctx.set(unit.y, int(y[late]) if 0 <= late < len(y) else 0)
            if cycle >= KernelLane.EARLY + latency:
                got.append(ctx.get(unit.o))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    np.testing.assert_array_equal(got, want)


class Session:
    """A core, simulated without its link.

    Parameters
    ----------
    kind
        "parallel" or "small".
    image
        What it holds at first.
    """

    def __init__(self, kind: str, image: Image) -> None:
        small = kind == "small"
        self.config = sized_for(image, SMALL if small else CONFIG)
        self.contents = lay_out(image, self.config)
        self.core: Any = (SmallCore if small else Core)(self.config, self.contents)

    def run(self, bench: Any) -> None:
        simulator = Simulator(self.core)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()

    async def feed(self, ctx: Any, token: int) -> None:
        await stream_put(ctx, self.core.prompt, token)
        await ctx.tick().repeat(3)
        while ctx.get(self.core.running):
            await ctx.tick()

    async def write(self, ctx: Any, address: int, word: int) -> None:
        """A word of the program."""
        request = {"write": 1, "space": Space.PROGRAM, "address": address, "data": word}
        await stream_put(ctx, self.core.bus_req, request)

    async def read(self, ctx: Any, count: int) -> list[int]:
        """Elements of vector memory."""
        words = []
        for address in range(count):
            request = {"write": 0, "space": Space.VECTOR, "address": address}
            await stream_put(ctx, self.core.bus_req, request)
            words.append(await stream_get(ctx, self.core.bus_rsp))
        return words

    async def reason(self, ctx: Any) -> int:
        """Why a generation of one token ends."""
        await stream_put(ctx, self.core.generate, {"count": 1, "greedy": 1, "seed": 1})
        ctx.set(self.core.token.ready, 1)
        return int((await stream_get(ctx, self.core.done)).reason)


@pytest.mark.parametrize("kind", ["parallel", "small"])
def test_a_registered_kernel_runs_on_both_cores(kind: str, everywhere: None) -> None:
    image = gated(24)
    session = Session(kind, image)
    golden = GoldenModel(image, session.config.numerics)
    golden.feed(5)
    words: list[int] = []

    async def bench(ctx: Any) -> None:
        await session.feed(ctx, 5)
        words.extend(await session.read(ctx, 24))

    session.run(bench)
    np.testing.assert_array_equal(words, session.config.vector.to_bits(golden._vector[0]))


CODES = [("op", 0), ("op", 7), ("kernel", 6), ("kernel", 7), ("mean_square", 3)]


@pytest.mark.parametrize("kind", ["parallel", "small"])
def test_codes_that_mean_nothing_are_faults(kind: str) -> None:
    image = random_image((24, 1, 24))
    session = Session(kind, image)
    program = session.contents.spaces[Space.PROGRAM]
    reasons = []

    async def bench(ctx: Any) -> None:
        for name, code in CODES:
            where = PLACES[name]
            has = [{"op", *(field.name for field in i.op.fields)} for i in image.program]
            at = WORDS * next(k for k, names in enumerate(has) if k and name in names) + where.word
            word = int(program[at])
            mask = (1 << where.bits) - 1 << where.low
            await session.write(ctx, at, word & ~mask | code << where.low)
            await session.feed(ctx, 5)
            reasons.append(await session.reason(ctx))
            await session.write(ctx, at, word)
        await session.feed(ctx, 5)
        reasons.append(await session.reason(ctx))

    session.run(bench)
    assert reasons == [Reason.FAULT] * len(CODES) + [Reason.COUNT]
