"""Weights outside block RAM: a memory controller, and the DMA that reads a model through it."""

from typing import Any, TypeVar

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import SPRAM_BLOCK, ChipConfig
from setun.firmware.errors import SetunError
from setun.hw.array.dot import Technology
from setun.hw.memory.controllers import qspi_parts, sdram_timing, spram
from setun.hw.memory.controllers.axi4 import BOUNDARY, Axi4Reader
from setun.hw.memory.controllers.axi4_pins import axi4
from setun.hw.memory.controllers.dma import LEAST_QUEUE, WeightDma, queue_shape
from setun.hw.memory.controllers.qspi import QspiFlash
from setun.hw.memory.controllers.sdram import SdramController
from setun.hw.memory.spaces import weights_bus

# The first is the ULX3S's, the flash the iCEBreaker's.
USUAL = {"sdram-16": "AS4C32M16SB-7", "sdram-32": "IS42S32160-75", "qspi": "W25Q128JV"}
ADDRESS_BITS = 64  # of an AXI4 port
BURST = 32  # beats of a request: covers a row's opening, and is little to wait for
LATENCY = 256  # cycles from request to data that the queue bridges, pauses of the array included
# Flash never gets ahead of the array, and what was asked for must come before a restart.
QSPI_BURST = 8

P = TypeVar("P")


def _part(config: ChipConfig, fitting: dict[str, P], which: str) -> P:
    name = config.part or USUAL[config.memory]
    if name not in fitting:
        raise SetunError("part", f"must be one of {', '.join(fitting)} {which}", name)
    return fitting[name]


def sdram_part(config: ChipConfig) -> sdram_timing.SdramPart:
    """The SDRAM of a configuration; refuses unknown ones and those of another width."""
    fitting = {name: p for name, p in sdram_timing.PARTS.items() if p.dq == config.beat}
    return _part(config, fitting, f"with {config.beat} data pins")


def flash_part(config: ChipConfig) -> qspi_parts.FlashPart:
    """The flash of a configuration; refuses unknown ones."""
    return _part(config, qspi_parts.PARTS, "as quad SPI flash")


def capacity(config: ChipConfig) -> int:
    """Bytes of the external weight memory; a bus shows as much as the configuration uses."""
    if config.memory.startswith("sdram"):
        return sdram_part(config).capacity
    if config.memory == "qspi":
        return max(flash_part(config).capacity - config.flash_base, 0)
    if config.memory == "spram":
        return spram.CAPACITY
    if config.small:
        return config.first_text * config.beat // 8
    return -(-config.weight_bytes // BOUNDARY) * BOUNDARY


def check_capacity(config: ChipConfig) -> None:
    """Refuse a configuration with more weights than its external memory holds."""
    if config.external and config.weight_bytes > capacity(config):
        raise SetunError(
            "weights",
            f"must fit the {config.memory} memory of {capacity(config)} bytes",
            config.weight_bytes,
            "choose a smaller model, packing 1.6b, or another part or memory",
        )
    if config.small and config.constants_end > SPRAM_BLOCK:
        raise SetunError(
            "constants",
            f"must fit {SPRAM_BLOCK} numbers of 16 bits, gates included",
            config.constants_end,
            "choose a smaller model",
        )


def queueing(config: ChipConfig) -> tuple[int, int]:
    """Beats of a request at most, and beats that the queue in front of the array holds."""
    burst, latency = (QSPI_BURST, 0) if config.memory == "qspi" else (BURST, LATENCY)
    return burst, max(latency, 2 * burst)


def queue_ram(config: ChipConfig) -> tuple[int, int]:
    """Words and bits of block RAM that the queue takes; none where distributed RAM holds it."""
    words, bits = queue_shape(config.beat, config.weight_bits, queueing(config)[1])
    return (0, bits) if words <= LEAST_QUEUE else (words, bits)


def controller(config: ChipConfig, technology: Technology = "generic", round_trip: int = 1) -> Any:
    """The controller of the configuration's memory, of `setun.hw.memory.controllers.port`."""
    if config.memory.startswith("sdram"):
        return SdramController(sdram_part(config), config.clock_hz, round_trip=round_trip)
    if config.memory == "qspi":
        return QspiFlash(flash_part(config), config.clock_hz, base=config.flash_base)
    if config.memory == "spram":
        return spram.SpramWeights(technology)
    return Axi4Reader(config.beat, capacity(config), address_bits=ADDRESS_BITS)


def memory_pins(config: ChipConfig) -> wiring.Signature:
    """Pins of the chip towards its weight memory, as the controller drives them; none if inside."""
    if config.memory.startswith("sdram"):
        return sdram_timing.sdram_pins(sdram_part(config))
    if config.memory == "qspi":
        return qspi_parts.flash_pins()
    if config.memory.startswith("axi4"):
        return axi4(config.beat, ADDRESS_BITS)
    return wiring.Signature({})


class ExternalWeights(wiring.Component):
    """Streams the model's weight words from an external memory, in order.

    Parameters
    ----------
    config
        The chip; `weight_bytes` of the memory are read, no further.
    technology
        Cells of a memory inside the FPGA, see `SpramWeights`.

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
        self, config: ChipConfig, technology: Technology = "generic", round_trip: int = 1
    ) -> None:
        check_capacity(config)
        self.config = config
        self.controller = controller(config, technology, round_trip)
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
        for name in ("pins", "axi"):
            if name in memory.signature.members:
                wiring.connect(m, wiring.flipped(self.memory), getattr(memory, name))
        if isinstance(memory, Axi4Reader):
            m.d.comb += [memory.enable.eq(1), memory.base.eq(0)]
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
