"""Weights outside block RAM: a memory controller, and the DMA that reads a model through it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.hw.memory.controllers.dma import LEAST_QUEUE, WeightDma, queue_shape
from setun.hw.memory.kinds import memory_gateware
from setun.hw.memory.spaces import weights_bus
from setun.hw.technology import GENERIC, Technology


def check_capacity(config: ChipConfig) -> None:
    """Refuse a configuration with more weights than its external memory holds."""
    if not config.external:
        return
    holds = memory_gateware(config).capacity(config)
    if config.weight_bytes > holds:
        raise SetunError(
            "weights",
            f"must fit the {config.memory} memory of {holds} bytes",
            config.weight_bytes,
            "choose a smaller model, packing 1.6b, or another part or memory",
        )


def queueing(config: ChipConfig) -> tuple[int, int]:
    """Beats of a request at most, and beats that the queue in front of the array holds."""
    memory = memory_gateware(config)
    return memory.burst, max(memory.latency, 2 * memory.burst)


def queue_ram(config: ChipConfig) -> tuple[int, int]:
    """Words and bits of block RAM that the queue takes; none where distributed RAM holds it."""
    words, bits = queue_shape(config.beat, config.weight_bits, queueing(config)[1])
    return (0, bits) if words <= LEAST_QUEUE else (words, bits)


def memory_pins(config: ChipConfig) -> wiring.Signature:
    """Pins of the chip towards its weight memory, as the controller drives them; none if inside."""
    return memory_gateware(config).pins(config)


class ExternalWeights(wiring.Component):
    """Streams the model's weight words from an external memory, in order.

    Parameters
    ----------
    config
        The chip; `weight_bytes` of the memory are read, no further.
    technology
        Cells of a memory inside the FPGA.

    Members
    -------
    restart : In(1)
        Begin again at word 0.
    o : Out(stream of weight_bits)
        Words in order.
    weights_req, weights_rsp
        The link's access; see `setun.hw.memory.spaces.weights_bus`. Waits until nothing is read.
    memory : Out
        Pins of the memory: `memory_pins`.

    Throughput: a beat of the memory per cycle, less what the controller says.
    """

    def __init__(
        self, config: ChipConfig, technology: Technology = GENERIC, round_trip: int = 1
    ) -> None:
        check_capacity(config)
        self.config = config
        self.gateware = memory_gateware(config)
        self.controller = self.gateware.controller(config, technology, round_trip)
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
        burst, depth = queueing(c)
        m.submodules.dma = dma = WeightDma(
            beat=c.beat,
            capacity=c.weight_bytes,
            weight_bits=c.weight_bits,
            burst=min(burst, memory.burst),
            depth=depth,
        )
        self.gateware.connect(m, wiring.flipped(self.memory), memory)
        wiring.connect(m, memory.o, dma.i)
        wiring.connect(m, wiring.flipped(self.o), dma.o)
        m.d.comb += [
            dma.restart.eq(self.restart),
            memory.read.valid.eq(dma.read.valid),
            memory.read.payload.address.eq(dma.read.payload.address),
            memory.read.payload.beats.eq(dma.read.payload.beats),
            dma.read.ready.eq(memory.read.ready),
        ]

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
