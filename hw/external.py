"""Weights outside the chip: a memory controller, and the DMA that reads a model through it."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.hw.controllers.axi4 import BOUNDARY, Axi4Reader
from setun.hw.controllers.axi4_pins import axi4
from setun.hw.controllers.dma import WeightDma
from setun.hw.controllers.sdram import SdramController
from setun.hw.controllers.sdram_timing import PARTS, SdramPart, sdram_pins
from setun.hw.memories import weights_bus

USUAL = {16: "AS4C32M16SB-7", 32: "IS42S32160-75"}  # by data pins; the first is the ULX3S's
ADDRESS_BITS = 64  # of an AXI4 port
BURST = 32  # beats of a request: covers a row's opening, and is little to wait for
LATENCY = 256  # cycles from request to data that the queue bridges, pauses of the array included


def sdram_part(config: ChipConfig) -> SdramPart:
    """The SDRAM of a configuration; refuses unknown ones and those of another width."""
    name = config.part or USUAL[config.weight_port]
    fitting = [p.name for p in PARTS.values() if p.dq == config.weight_port]
    if name not in fitting:
        rule = f"must be one of {', '.join(fitting)} with {config.weight_port} data pins"
        raise SetunError("part", rule, name)
    return PARTS[name]


def capacity(config: ChipConfig) -> int:
    """Bytes of the external weight memory; a bus shows as much as the configuration uses."""
    if config.memory.startswith("sdram"):
        return sdram_part(config).capacity
    return -(-config.weight_bytes // BOUNDARY) * BOUNDARY


def check_capacity(config: ChipConfig) -> None:
    """Refuse a configuration with more weights than its external memory holds."""
    if config.external and config.weight_bytes > capacity(config):
        raise SetunError(
            "weights", f"must fit the memory of {capacity(config)} bytes", config.weight_bytes,
            "choose a larger part or fewer weight_words",
        )  # fmt: skip


def controller(config: ChipConfig, round_trip: int = 1) -> Any:
    """The controller of the configuration's memory, of `setun.hw.controllers.port`."""
    if config.memory.startswith("sdram"):
        return SdramController(sdram_part(config), config.clock_hz, round_trip=round_trip)
    return Axi4Reader(config.weight_port, capacity(config), address_bits=ADDRESS_BITS)


def memory_pins(config: ChipConfig) -> wiring.Signature:
    """Pins of the chip towards its external memory, as its controller drives them."""
    if config.memory.startswith("sdram"):
        return sdram_pins(sdram_part(config))
    return axi4(config.weight_port, ADDRESS_BITS)


class ExternalWeights(wiring.Component):
    """Streams the model's weight words from an external memory, in order, as `WeightReader` does.

    Members
    -------
    restart : In(1)
        Begin again at word 0.
    o : Out(stream of weight_bits)
        Words in order.
    weights_req, weights_rsp
        The link's access; see `setun.hw.memories.weights_bus`. Waits until nothing is read.
    memory : Out
        Pins of the memory: `sdram_pins` or `axi4`.

    Throughput: a beat of the memory per cycle, less what the controller says.
    """

    def __init__(self, config: ChipConfig, round_trip: int = 1) -> None:
        check_capacity(config)
        self.config = config
        self.controller = controller(config, round_trip)
        self.pins = "axi" if config.memory.startswith("axi4") else "pins"
        members = {name: member.flip() for name, member in weights_bus().items()}
        super().__init__(
            {
                "restart": In(1),
                "o": Out(stream.Signature(config.weight_bits)),
                **members,
                "memory": Out(memory_pins(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        m.submodules.controller = memory = self.controller
        m.submodules.dma = dma = WeightDma(
            beat=c.weight_port, capacity=capacity(c), weight_bits=c.weight_bits,
            burst=min(BURST, memory.burst), depth=LATENCY,
        )  # fmt: skip
        wiring.connect(m, wiring.flipped(self.memory), getattr(memory, self.pins))
        wiring.connect(m, dma.read, memory.read)
        wiring.connect(m, memory.o, dma.i)
        wiring.connect(m, wiring.flipped(self.o), dma.o)
        m.d.comb += dma.restart.eq(self.restart)
        if self.pins == "axi":
            m.d.comb += [memory.enable.eq(1), memory.base.eq(0)]

        # The link's turn comes when the DMA is quiet, and lasts until its word has come.
        request, reading = self.weights_req, Signal()
        turn = Signal()
        m.d.comb += [
            dma.hold.eq(request.valid | reading),
            turn.eq(dma.quiet & ~reading),
            memory.bus_req.valid.eq(request.valid & turn),
            request.ready.eq(memory.bus_req.ready & turn),
            memory.bus_req.payload.write.eq(request.payload.write),
            memory.bus_req.payload.address.eq(request.payload.address),
            memory.bus_req.payload.data.eq(request.payload.data),
            self.weights_rsp.valid.eq(memory.bus_rsp.valid),
            self.weights_rsp.payload.eq(memory.bus_rsp.payload),
            memory.bus_rsp.ready.eq(self.weights_rsp.ready),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += reading.eq(~request.payload.write)
        with m.Elif(self.weights_rsp.valid & self.weights_rsp.ready):
            m.d.sync += reading.eq(0)
        return m
