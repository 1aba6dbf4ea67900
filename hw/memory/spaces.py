"""All memories of the core, the maintenance bus over them, and the embedding copier."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from numpy.typing import NDArray

from setun.firmware.config import SLOTS, ChipConfig
from setun.firmware.image import terminal_tables as text
from setun.firmware.image.memory_layout import MemoryLayout, Space
from setun.firmware.numerics.attention import BYTE
from setun.firmware.program.isa import WORDS
from setun.hw.commands import CONSTANT_WORDS, embed_command
from setun.hw.instruction import shape
from setun.hw.link.signature import BUS_REQUEST
from setun.hw.memory.store import Store
from setun.hw.seats import pass_layout, several, within, workspaces

TEXT_WORDS = 1 << ceil_log2(text.WORDS)


@dataclass(frozen=True)
class Shape:
    """One loadable or readable space: `elements` of `element` bits a word, `depth` words."""

    element: int
    elements: int
    depth: int

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self.element * self.elements

    def words(self, contents: Sequence[int] | NDArray[np.uint32]) -> list[int]:
        """Memory words from what the link would write, address by address."""
        stride = 1 << ceil_log2(self.elements)
        words = []
        for start in range(0, len(contents), stride):
            word = 0
            for k, element in enumerate(contents[start : start + self.elements]):
                word |= (int(element) & ((1 << self.element) - 1)) << (k * self.element)
            words.append(word)
        return words


def shapes(config: ChipConfig) -> dict[Space, Shape]:
    """The spaces of a chip that lie in block RAM."""
    c, w, v = config, config.vector.width, config.lanes
    piece = min(32, c.weight_bits)
    inside = c.attention and not c.outer_cache
    model = {
        Space.PROGRAM: Shape(32, 1, WORDS * c.instructions),
        Space.WEIGHTS: Shape(piece, -(-c.weight_bits // piece), c.weight_words),
        Space.CONSTANTS: Shape(w, 2 * v, -(-c.constant_pairs // v)),
        Space.GATES: Shape(w, v, c.state_words),
    }
    return {
        **({} if c.streams else model),
        Space.STATE: Shape(config.numerics.state.width, v, several(c.state_words, c.contexts)),
        Space.VECTOR: Shape(w, v, several(c.vector_words, workspaces(c))),
        **({Space.TEXT: Shape(9, 1, TEXT_WORDS)} if c.terminal else {}),
        # Behind the codes of a word stands the exponent of their head.
        **({Space.CACHE: Shape(BYTE, c.attention + 1, c.cache_depth)} if inside else {}),
    }


def slot_depth(config: ChipConfig) -> int:
    """Words of the slot memory: seats and slots start at powers of two."""
    return (SLOTS * config.contexts) << ceil_log2(max(config.slot_words, 2))


class SlotMemory(wiring.Component):
    """Quantised vectors: words of P codes, one write and one read port, data one cycle later."""

    def __init__(self, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(range(depth)),
                "write_data": In(width),
                "read_address": In(range(depth)),
                "read_data": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = mem = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write, read = mem.write_port(), mem.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
        ]
        return m


def weights_bus() -> dict[str, wiring.Member]:
    """The link's port of an external memory, 32-bit words by number; writes are silent."""
    request = data.StructLayout({"write": 1, "address": 32, "data": 32})
    return {
        "weights_req": Out(stream.Signature(request)),
        "weights_rsp": In(stream.Signature(32)),
    }


class Memories(wiring.Component):
    """The stores, addressed by the link as `setun.firmware.image.memory_layout.Space` says.

    Members
    -------
    bus_req, bus_rsp
        The link's memory port; one request at a time; reads are answered when the store has found
        the element.
    weights_req, weights_rsp
        Of an external memory: where requests for its space go.
    writing : Out(1)
        Strobe: the link writes.
    seating : In
        Who sits where; see `setun.hw.seats.pass_layout`.
    constant_address : In
        Quantiser's read address, unless an embedding is being copied.
    embed : In(stream of `embed_command`)
        Copies an embedding row to vector memory: two vector words a constant word, one a cycle.
    copy, copy_address, copy_data : In
        Instead of these two, if the model is streamed: a word of an embedding row.
    write_vector, write_state, vector_write, state_write, write_data, state_word : In
        The sink's write ports.
    attend, attend_address, attend_data : In
        Of a chip with attention alone: its write port of vector memory, while the sink rests.

    The stores' read ports are reached as attributes: `program`, `weights`, `constants`, `state`,
    `gates`, `vector_sink` and `vector_quantiser` (two copies of one vector memory), `text`. There
    are none of the first three and no `gates` if the model is streamed, no `text` without a
    terminal, and `cache`, with its write port, with attention alone.
    """

    def __init__(self, config: ChipConfig, layout: MemoryLayout | None) -> None:
        self.config = config
        contents = layout.spaces if layout else {}
        w, v = config.vector.width, config.lanes

        def store(
            space: Space, name: str = "", *, writable: bool = False, far: bool = False
        ) -> Store:
            shape = shapes(config)[space]
            return Store(
                name or space.name.lower(),
                element=shape.element,
                elements=shape.elements,
                depth=shape.depth,
                init=shape.words(contents.get(space, ())),
                writable=writable,
                far=far,
            )

        self.weights: Store | None = None
        if not config.streams:
            self.program = store(Space.PROGRAM)
            self.weights = store(Space.WEIGHTS, far=True)
            self.constants = store(Space.CONSTANTS)
            self.gates = store(Space.GATES)
        self.state = store(Space.STATE, writable=True)
        self.vector_sink = store(Space.VECTOR, writable=True)
        self.vector_quantiser = store(Space.VECTOR, "vector_copy", writable=True)
        self.text = store(Space.TEXT, far=True) if config.terminal else None
        self.cache: Store | None = None
        if Space.CACHE in shapes(config):
            self.cache = store(Space.CACHE, writable=True, far=True)
        inside = {
            "constant_address": In(CONSTANT_WORDS),
            "embed": In(stream.Signature(embed_command(config))),
        }
        outside = {
            **weights_bus(),
            "copy": In(1),
            "copy_address": In(shape(config, "src")),
            "copy_data": In(w * v),
        }
        attending = {
            "attend": In(1),
            "attend_address": In(shape(config, "src")),
            "attend_data": In(w * v),
        }
        super().__init__(
            {
                "bus_req": In(stream.Signature(BUS_REQUEST)),
                "bus_rsp": Out(stream.Signature(32)),
                **(outside if config.streams else inside),
                **(attending if config.attention else {}),
                "writing": Out(1),
                "seating": In(pass_layout(config)),
                "write_vector": In(1),
                "write_state": In(1),
                "vector_write": In(shape(config, "src")),
                "state_write": In(shape(config, "dst")),
                "write_data": In(w * v),
                "state_word": In(config.numerics.state.width * v),
            }
        )

    def slots(self) -> SlotMemory:
        """Slot memory of this configuration."""
        return SlotMemory(8 * self.config.columns, slot_depth(self.config))

    def slot_address(self, slot: Value, seat: Value, word: Value) -> Value:
        """Address of a word of a seat's codes in a slot of that memory."""
        return Cat(within(word, self.config.slot_words, seat, self.config.contexts), slot)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stores: dict[Space, Store] = {Space.STATE: self.state, Space.VECTOR: self.vector_sink}
        if self.weights is not None:
            stores |= {
                Space.PROGRAM: self.program,
                Space.WEIGHTS: self.weights,
                Space.CONSTANTS: self.constants,
                Space.GATES: self.gates,
            }
        if self.text:
            stores[Space.TEXT] = self.text
        if self.cache:
            stores[Space.CACHE] = self.cache
        for space, store in stores.items():
            m.submodules[space.name.lower()] = store
        m.submodules.vector_copy = self.vector_quantiser

        request = self.bus_req.payload
        accept, outside = Signal(), Signal()
        reading, found = Signal(), Signal()
        answer = Signal(32)
        m.d.comb += [
            accept.eq(self.bus_req.valid & ~reading & ~outside),
            self.bus_req.ready.eq(accept),
            self.writing.eq(accept & request.write),
            self.bus_rsp.valid.eq(found),
            self.bus_rsp.payload.eq(answer),
        ]
        if self.weights is None:
            self._outside(m, outside, reading)
        space = Signal(3)
        with m.If(accept & ~request.write):
            m.d.sync += [reading.eq(1), space.eq(request.space)]
        with m.If(found & self.bus_rsp.ready):
            m.d.sync += [reading.eq(0), found.eq(0)]
        # From the link to block RAM is a long way: registers in between.
        given = Signal(BUS_REQUEST, reset_less=True)
        m.d.sync += given.eq(request)
        for key, store in stores.items():
            strobe = Signal(name=f"strobe_{key.name.lower()}")
            m.d.sync += strobe.eq(accept & (request.space == key))
            m.d.comb += [
                store.bus.strobe.eq(strobe),
                store.bus.write.eq(given.write),
                store.bus.address.eq(given.address),
                store.bus.write_data.eq(given.data),
            ]
        with m.If(reading & ~found), m.Switch(space):
            for key, store in stores.items():
                with m.Case(key), m.If(store.bus.done):
                    m.d.sync += [answer.eq(store.bus.read_data), found.eq(1)]
            with m.Default():
                m.d.sync += [answer.eq(0), found.eq(1)]

        if self.config.streams:
            self._write_ports(m, self.copy, self.copy_address, self.copy_data)
        else:
            self._copier(m)
        return m

    def _outside(self, m: Module, outside: Value, inside: Value) -> None:
        """Requests for an external memory, `outside` while one is offered or under way.

        `inside`: a read of a store is under way.
        """
        request = self.bus_req.payload
        offered, reading = Signal(), Signal()
        m.d.comb += [
            offered.eq(self.bus_req.valid & (request.space == Space.WEIGHTS) & ~inside & ~reading),
            outside.eq(offered | reading),
            self.weights_req.valid.eq(offered),
            self.weights_req.payload.write.eq(request.write),
            self.weights_req.payload.address.eq(request.address),
            self.weights_req.payload.data.eq(request.data),
        ]
        with m.If(offered):
            m.d.comb += self.bus_req.ready.eq(self.weights_req.ready)
            m.d.comb += self.writing.eq(self.weights_req.ready & request.write)
            with m.If(self.weights_req.ready):
                m.d.sync += reading.eq(~request.write)
        with m.If(reading):
            m.d.comb += [
                self.bus_rsp.valid.eq(self.weights_rsp.valid),
                self.bus_rsp.payload.eq(self.weights_rsp.payload),
                self.weights_rsp.ready.eq(self.bus_rsp.ready),
            ]
            with m.If(self.weights_rsp.valid & self.bus_rsp.ready):
                m.d.sync += reading.eq(0)

    def _copier(self, m: Module) -> None:
        """Embedding rows of constant memory to vector memory."""
        w, v = self.config.vector.width, self.config.lanes
        row = self.embed.payload
        read, copied = Signal(shape(self.config, "n")), Signal(shape(self.config, "n"))
        valid, half = Signal(), Signal()
        m.d.comb += [
            self.constants.read_address.eq(
                Mux(self.embed.valid, row.first + (read >> 1), self.constant_address)
            ),
            self.embed.ready.eq(self.embed.valid & (copied == row.words)),
            half.eq(copied[0]),
        ]
        m.d.sync += valid.eq(self.embed.valid & (read != row.words))
        with m.If(self.embed.ready | ~self.embed.valid):
            m.d.sync += [read.eq(0), copied.eq(0), valid.eq(0)]
        with m.Else():
            with m.If(read != row.words):
                m.d.sync += read.eq(read + 1)
            with m.If(valid):
                m.d.sync += copied.eq(copied + 1)
        embedded = self.constants.read_data.word_select(half, w * v)
        workspace = self.seating.seats[row.seat].workspace
        target = within(
            row.destination + copied, self.config.vector_words, workspace, workspaces(self.config)
        )
        self._write_ports(m, valid, target, embedded)

    def _write_ports(self, m: Module, copy: Value, address: Value, embedded: Value) -> None:
        """Of vector memory: the sink's, or the copy of an embedding row; of the state."""
        enable: Value = self.write_vector | copy
        place: Value = Mux(copy, address, self.vector_write)
        word: Value = Mux(copy, embedded, self.write_data)
        if self.config.attention:
            enable = enable | self.attend
            place = Mux(self.attend, self.attend_address, place)
            word = Mux(self.attend, self.attend_data, word)
        for store in (self.vector_sink, self.vector_quantiser):
            m.d.comb += [
                store.write_enable.eq(enable),
                store.write_address.eq(place),
                store.write_data.eq(word),
            ]
        m.d.comb += [
            self.state.write_enable.eq(self.write_state),
            self.state.write_address.eq(self.state_write),
            self.state.write_data.eq(self.state_word),
        ]
