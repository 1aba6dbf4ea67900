"""Memory outside the core: a whole model, read once a token."""

from amaranth.hdl import Module, ResetInserter, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.records import unit_bits
from setun.hw.memory.controllers.dma import LEAST_QUEUE, queue_shape
from setun.hw.memory.kinds import memory_gateware
from setun.hw.memory.stream.embedding import EmbeddingCopier
from setun.hw.memory.stream.model_reader import ModelReader
from setun.hw.memory.stream.unit_store import UnitStore, UnitStoreShape
from setun.hw.technology import GENERIC, Technology


def check_capacity(config: ChipConfig) -> None:
    """Refuse a configuration whose model may take more than its external memory holds."""
    if not config.external:
        return
    holds = memory_gateware(config).capacity(config)
    used = config.external_bytes if config.streams else config.weight_bytes
    if used > holds:
        raise SetunError(
            "model" if config.streams else "weights",
            f"must fit the {config.memory} memory of {holds} bytes",
            used,
            "choose a smaller model, packing 1.6b, or another part or memory",
        )


def queueing(config: ChipConfig) -> tuple[int, int]:
    """Beats of a request at most, and beats that the queue in front of the array holds."""
    memory = memory_gateware(config)
    return memory.burst, max(memory.latency, 2 * memory.burst)


def queue_ram(config: ChipConfig) -> tuple[int, int]:
    """Words and bits of block RAM that the queue takes; none where distributed RAM holds it."""
    words, bits = queue_shape(config.beat, unit_bits(config.beat), queueing(config)[1])
    return (0, bits) if words <= LEAST_QUEUE else (words, bits)


def gain_store(config: ChipConfig) -> UnitStoreShape:
    """Store of the gains: V outer gains and V gains a word."""
    words = -(-config.constant_pairs // config.lanes)
    return UnitStoreShape(unit_bits(config.beat), 2 * config.lanes, config.vector.width, words)


def gate_store(config: ChipConfig) -> UnitStoreShape:
    """Store of the gates, V a word."""
    words = -(-config.gate_elements // config.lanes)
    return UnitStoreShape(unit_bits(config.beat), config.lanes, config.vector.width, words)


def memory_pins(config: ChipConfig) -> wiring.Signature:
    """Pins of the chip towards its memory, as the controller drives them; none if inside."""
    return memory_gateware(config).pins(config)


class ExternalMemory(wiring.Component):
    """A model in an external memory: `ModelReader`, the copier of embedding rows, pins.

    Parameters
    ----------
    config
        The chip; `external_bytes` of the memory are read, no further.
    technology
        Cells of a memory inside the FPGA.

    Members
    -------
    hung : In(1)
        What is under way is given up.
    embed, seating, write, address, data
        See `EmbeddingCopier`.
    memory : Out
        Pins of the memory: `memory_pins`.

    The others are those of `ModelReader`, documented there, but for its rows.
    """

    def __init__(
        self, config: ChipConfig, technology: Technology = GENERIC, round_trip: int = 1
    ) -> None:
        check_capacity(config)
        self.config = config
        self.gateware = memory_gateware(config)
        self.controller = self.gateware.controller(config, technology, round_trip)
        burst, depth = queueing(config)
        self.reader = ModelReader(
            self.controller,
            beat=config.beat,
            capacity=config.external_bytes,
            cache=bool(config.attention and config.outer_cache),
            weight_bits=config.weight_bits,
            gains=UnitStore(gain_store(config)),
            gates=UnitStore(gate_store(config)),
            burst=burst,
            depth=depth,
        )
        self.copier = EmbeddingCopier(config, config.beat, self.reader.address_bits)
        read = {n: m for n, m in self.reader.signature.members.items() if n not in ("row", "o")}
        copied = {n: m for n, m in self.copier.signature.members.items() if n not in ("row", "i")}
        self.passed = {**dict.fromkeys(read, self.reader), **dict.fromkeys(copied, self.copier)}
        super().__init__({**read, **copied, "hung": In(1), "memory": Out(memory_pins(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = self.reader
        m.submodules.copier = copier = ResetInserter(self.hung | self.restart)(self.copier)
        self.gateware.connect(m, wiring.flipped(self.memory), self.controller)
        wiring.connect(m, copier.row, reader.row)
        wiring.connect(m, reader.o, copier.i)
        for name, unit in self.passed.items():
            mine, theirs = getattr(self, name), getattr(unit, name)
            member = self.signature.members[name]
            if isinstance(mine, Value) or not member.is_signature:
                m.d.comb += mine.eq(theirs) if member.flow is Out else theirs.eq(mine)
            else:
                wiring.connect(m, wiring.flipped(mine), theirs)
        return m
