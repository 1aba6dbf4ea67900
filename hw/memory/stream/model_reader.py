"""Model reader: everything that a token wants of a model in an external memory."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.image.records import BURST, INSTRUCTION_BITS, unit_bits
from setun.hw.memory.controllers.dma import WeightDma
from setun.hw.memory.controllers.gearbox import Gearbox
from setun.hw.memory.spaces import weights_bus
from setun.hw.memory.stream.arbiter import ReadArbiter
from setun.hw.memory.stream.row_reader import CACHE_COUNT_BITS, RowReader, row_command
from setun.hw.memory.stream.unit_store import UnitStore
from setun.hw.memory.stream.unpacker import Semaphore, Unpacker

WORDS = 16  # weight words in front of the array, what distributed RAM holds anyway
ROW_BURST = 8  # beats: twice as many fit distributed RAM
LOOKAHEAD = 16  # instructions that may wait for the sequencer


def store_members(store: UnitStore) -> dict[str, wiring.Member]:
    """How a unit reads its numbers: `address`, `data` a cycle later; blocks as of `Semaphore`."""
    return {
        "address": In(store.signature.members["read_address"].shape),
        "data": Out(store.signature.members["read_data"].shape),
        "ready": Out(1),
        "begun": In(1),
        "freed": In(1),
    }


class ModelReader(wiring.Component):
    """Reads the records of a token front to back, and embedding rows beside them.

    At the first token after a load, the records at the memory's start are read; they end with a
    TOKEN record, which says where each token's records begin.

    Parameters
    ----------
    controller
        A controller of `setun.hw.memory.controllers.port`.
    beat, capacity
        Bits of its beat, and bytes that belong to the model.
    weight_bits
        Bits of a weight word.
    gains, gates
        Stores of gains and gates; see `UnitStore`.
    burst, depth
        Of the stream's `WeightDma`, in beats.
    cache
        Whether somebody reads and writes beside the model.
    align
        Beats that a TOKEN record counts in: a multiple of `burst`.

    Members
    -------
    restart : In(1)
        A token begins; what is left of the one before is dropped.
    changed : In(1)
        Strobe: the memory is being written; it is read from its start again.
    fault : Out(1)
        What was read is no model, or an AXI4 memory has answered with an error since `restart`.
    weights : Out(stream of `weight_bits`)
        Weight words in order.
    instructions : Out(stream of 128 bits)
        Instructions in order, from the token's first on.
    gains, gates : Out
        See `store_members`. Where they stay on the chip `ready` is high.
    row : In(stream of `row_command`), o : Out(stream of `beat` bits)
        Rows of an embedding.
    weights_req, weights_rsp
        The link's access, see `setun.hw.memory.spaces.weights_bus`.
    cache_row, cache_o, cache_req, cache_rsp, cache_claim
        With `cache` alone: rows, words and the claim of `setun.hw.attention.outer.OuterCache`.
    """

    def __init__(
        self,
        controller: Any,
        *,
        beat: int,
        capacity: int,
        weight_bits: int,
        gains: UnitStore,
        gates: UnitStore,
        burst: int,
        depth: int,
        align: int = BURST,
        cache: bool = False,
    ) -> None:
        self.controller, self.gain_store, self.gate_store = controller, gains, gates
        self.unit = unit_bits(beat)
        self.burst = min(burst, controller.burst)
        self.align = align
        self.dma = WeightDma(
            beat=beat, capacity=capacity, weight_bits=self.unit, burst=self.burst, depth=depth
        )
        self.address_bits = (self.dma.total - 1).bit_length()
        self.rows = RowReader(beat, self.address_bits, min(ROW_BURST, self.burst))
        self.gearbox = Gearbox(self.unit, weight_bits)
        self.cached: RowReader | None = None
        cache_members: dict[str, wiring.Member] = {}
        if cache:
            self.cached = RowReader(
                beat, self.address_bits, self.burst, max(depth, 2 * self.burst), CACHE_COUNT_BITS
            )
            row = row_command(self.address_bits, CACHE_COUNT_BITS)
            bus = weights_bus()
            cache_members = {
                "cache_row": In(stream.Signature(row)),
                "cache_o": Out(stream.Signature(beat)),
                "cache_req": bus["weights_req"].flip(),
                "cache_rsp": bus["weights_rsp"].flip(),
                "cache_claim": In(1),
            }
        super().__init__(
            {
                **cache_members,
                "restart": In(1),
                "changed": In(1),
                "fault": Out(1),
                "weights": Out(stream.Signature(weight_bits)),
                "instructions": Out(stream.Signature(INSTRUCTION_BITS)),
                "gains": Out(wiring.Signature(store_members(gains))),
                "gates": Out(wiring.Signature(store_members(gates))),
                "row": In(stream.Signature(row_command(self.address_bits))),
                "o": Out(stream.Signature(beat)),
                **{name: member.flip() for name, member in weights_bus().items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.controller = memory = self.controller
        m.submodules.dma = dma = self.dma
        m.submodules.rows = rows = self.rows
        m.submodules.arbiter = arbiter = ReadArbiter(dma.beat, self.address_bits)
        wiring.connect(m, rows.read, arbiter.first)
        wiring.connect(m, arbiter.to_first, rows.i)
        second, to_second = dma.read, dma.i
        if self.cached:
            m.submodules.cached = cached = self.cached
            m.submodules.cache_arbiter = both = ReadArbiter(dma.beat, self.address_bits)
            wiring.connect(m, cached.read, both.first)
            wiring.connect(m, dma.read, both.second)
            wiring.connect(m, both.to_first, cached.i)
            wiring.connect(m, both.to_second, dma.i)
            second, to_second = both.read, both.i
            wiring.connect(m, wiring.flipped(self.cache_row), cached.command)
            wiring.connect(m, wiring.flipped(self.cache_o), cached.o)
            m.d.comb += cached.restart.eq(self.restart)
        wiring.connect(m, second, arbiter.second)
        wiring.connect(m, arbiter.to_second, to_second)
        wiring.connect(m, memory.o, arbiter.i)
        m.d.comb += [
            memory.read.valid.eq(arbiter.read.valid),
            memory.read.payload.address.eq(arbiter.read.payload.address),
            memory.read.payload.beats.eq(arbiter.read.payload.beats),
            arbiter.read.ready.eq(memory.read.ready),
        ]
        m.d.comb += rows.restart.eq(self.restart)
        wiring.connect(m, wiring.flipped(self.row), rows.command)
        wiring.connect(m, wiring.flipped(self.o), rows.o)
        self._records(m)
        self._link(m)
        if hasattr(memory, "error"):
            m.d.comb += memory.clear.eq(self.restart)
        return m

    def _records(self, m: Module) -> None:
        """The stream, taken apart: weights, instructions, gains and gates."""
        dma = self.dma
        booted, first = Signal(), Signal.like(dma.first)
        begins = Signal.like(first)
        gains_kept, gates_kept = Signal(), Signal()
        again = Signal()  # the stream begins anew: a token, or what lies behind the boot records
        anew = ResetInserter(again)
        m.submodules.unpacker = unpacker = anew(Unpacker(self.unit))
        m.submodules.gearbox = gearbox = anew(self.gearbox)
        m.submodules.words = words = anew(
            fifo.SyncFIFOBuffered(width=len(self.weights.payload), depth=WORDS)
        )
        m.submodules.program = program = anew(
            fifo.SyncFIFOBuffered(width=INSTRUCTION_BITS, depth=LOOKAHEAD)
        )
        m.d.comb += [
            again.eq(self.restart | unpacker.token),
            dma.restart.eq(again),
            dma.first.eq(begins * (self.align // self.burst)),
            begins.eq(Mux(unpacker.token, unpacker.first, Mux(booted, first, 0))),
            unpacker.resident.eq(~booted),
            self.fault.eq(unpacker.fault | getattr(self.controller, "error", 0)),
        ]
        wiring.connect(m, dma.o, unpacker.i)
        wiring.connect(m, unpacker.weights, gearbox.i)
        wiring.connect(m, gearbox.o, words.w_stream)
        wiring.connect(m, words.r_stream, wiring.flipped(self.weights))
        wiring.connect(m, unpacker.instructions, program.w_stream)
        wiring.connect(m, program.r_stream, wiring.flipped(self.instructions))
        with m.If(unpacker.token):
            m.d.sync += [
                booted.eq(1),
                first.eq(unpacker.first),
                gains_kept.eq(unpacker.gains_kept),
                gates_kept.eq(unpacker.gates_kept),
            ]
        with m.If(self.changed):
            m.d.sync += [booted.eq(0), gains_kept.eq(0), gates_kept.eq(0)]

        for name, store, kept in (
            ("gains", self.gain_store, gains_kept),
            ("gates", self.gate_store, gates_kept),
        ):
            m.submodules[name] = store
            m.submodules[f"{name}_blocks"] = blocks = anew(Semaphore())
            side = getattr(self, name)
            m.d.comb += [
                store.write.eq(unpacker.write & (unpacker.written.gates == (name == "gates"))),
                store.write_address.eq(unpacker.written.address),
                store.data.eq(unpacker.written.data),
                store.read_address.eq(side.address),
                side.data.eq(store.read_data),
                side.ready.eq(blocks.ready | kept),
                getattr(unpacker, f"{name}_room").eq(blocks.room),
                blocks.came.eq(getattr(unpacker, f"{name}_came")),
                blocks.begun.eq(side.begun & ~kept),
                blocks.freed.eq(side.freed & ~kept),
            ]

    def _link(self, m: Module) -> None:
        """The link's turn comes when nothing is read, and lasts until its word has come; so does
        that of who keeps a cache, which both want at different times."""
        memory, request, reading = self.controller, self.weights_req, Signal()
        hold, turn, mine = Signal(), Signal(), Signal()  # the cache's turn, not the link's
        valid, payload = request.valid, request.payload
        answered: Value = self.weights_rsp.ready
        quiet = self.dma.quiet & self.rows.quiet
        claim: Value = Const(0, 1)
        if self.cached:
            quiet, claim = quiet & self.cached.quiet, self.cache_claim
            other = self.cache_req
            valid = Mux(mine, other.valid, valid)
            given = Signal.like(payload)
            m.d.comb += [
                given.eq(Mux(mine, other.payload.as_value(), payload.as_value())),
                self.cached.hold.eq(hold),
                other.ready.eq(memory.bus_req.ready & turn & mine),
                self.cache_rsp.valid.eq(memory.bus_rsp.valid & mine),
                self.cache_rsp.payload.eq(memory.bus_rsp.payload),
            ]
            payload, answered = given, Mux(mine, self.cache_rsp.ready, answered)
            with m.If(~(valid & turn) & ~reading):
                m.d.sync += mine.eq(claim)
        m.d.comb += [
            hold.eq(valid | reading | claim),
            self.dma.hold.eq(hold),
            self.rows.hold.eq(hold),
            turn.eq(quiet & ~reading),
            memory.bus_req.valid.eq(valid & turn),
            request.ready.eq(memory.bus_req.ready & turn & ~mine),
            memory.bus_req.payload.write.eq(payload.write),
            memory.bus_req.payload.address.eq(payload.address),
            memory.bus_req.payload.data.eq(payload.data),
            self.weights_rsp.valid.eq(memory.bus_rsp.valid & ~mine),
            self.weights_rsp.payload.eq(memory.bus_rsp.payload),
            memory.bus_rsp.ready.eq(answered),
        ]
        with m.If(memory.bus_req.valid & memory.bus_req.ready):
            m.d.sync += reading.eq(~payload.write)
        with m.Elif(memory.bus_rsp.valid & memory.bus_rsp.ready):
            m.d.sync += reading.eq(0)
