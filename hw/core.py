"""The core: memories, quantiser, array, sink, sampler and the sequencer that drives them."""

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import Out

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import MemoryLayout
from setun.firmware.program.isa import Op
from setun.hw.array.array import TernaryArray
from setun.hw.array.weights import LEAD, WeightReader, lead
from setun.hw.attention.cache import LATENCY
from setun.hw.attention.unit import Attention
from setun.hw.control import watchdog
from setun.hw.control.fetch import ProgramFetch
from setun.hw.control.generation import COUNTERS, Generation
from setun.hw.control.sequencer import Sequencer
from setun.hw.link.signature import Ties, core_members
from setun.hw.memory.external import ExternalMemory, memory_pins
from setun.hw.memory.spaces import Memories
from setun.hw.technology import GENERIC, Technology
from setun.hw.vector.noise import StateGenerators
from setun.hw.vector.quantiser import Quantiser
from setun.hw.vector.sampler import Sampler
from setun.hw.vector.sink import Sink


def ties(config: ChipConfig) -> Ties:
    """How the core is tied to the link."""
    return Ties(
        counters=len(COUNTERS),
        contexts=config.contexts,
        terminal=bool(config.terminal),
        ends=config.core.ends,
        token_bits=config.token_bits,
    )


class Core(wiring.Component):
    """Everything between the link and the weights.

    Parameters
    ----------
    config
        Sizes and formats.
    layout
        Initial memory contents; None leaves the chip blank, to be loaded over the link.
    technology
        Cells of the array and of a memory inside the FPGA.
    round_trip
        Of an SDRAM, see `setun.hw.memory.controllers.sdram.SdramController`.
    patience
        Exponent of the watchdog's cycles; None for the configuration's.

    Members: the core's side of `setun.hw.link.link.Link`, documented there; `memory`, the pins
    of an external weight memory.

    Attributes
    ----------
    beats
        None: nothing counts freely here.
    """

    beats = None

    def __init__(
        self,
        config: ChipConfig,
        layout: MemoryLayout | None = None,
        technology: Technology = GENERIC,
        *,
        round_trip: int = 1,
        patience: int | None = None,
    ) -> None:
        self.config, self.technology = config, technology
        self.patience = watchdog.patience(config) if patience is None else patience
        self.layout = layout
        self.outside = ExternalMemory(config, technology, round_trip) if config.streams else None
        link = core_members(ties(config))
        members = {name: member.flip() for name, member in link.items()}
        if self.outside:
            members["memory"] = Out(memory_pins(config))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        m.submodules.watchdog = dog = watchdog.Watchdog(self.patience)
        # What a pass may leave behind starts over with the units; memories keep their words, and
        # an external memory its transfers: they are dropped by the next pass.
        restart: Callable[[Any], Any] = ResetInserter(dog.hung)
        m.submodules.memories = memories = Memories(c, self.layout)
        sequencer = Sequencer(c)
        array = TernaryArray(c, self.technology, lead=lead(c))
        quantiser = Quantiser(c, early=array.early)
        sink = Sink(c)
        sampler = Sampler(c)
        m.submodules.sequencer, m.submodules.array, m.submodules.quantiser = map(
            restart, (sequencer, array, quantiser)
        )
        m.submodules.sink, m.submodules.sampler = map(restart, (sink, sampler))
        m.submodules.generation = generation = Generation(c)
        m.d.comb += [dog.busy.eq(generation.passing), generation.hung.eq(dog.hung)]
        if self.outside:
            self._streamed(m, memories, sequencer, array, quantiser, sink, dog.hung)
            m.d.comb += [
                self.outside.seating.eq(generation.seating),
                # Units that were at work wait for ever: they start over.
                dog.broken.eq(sequencer.fault & self.outside.fault),
            ]
        else:
            self._inside(m, memories, sequencer, array, quantiser, sink, restart)
        wiring.connect(m, wiring.flipped(self.bus_req), memories.bus_req)
        wiring.connect(m, wiring.flipped(self.bus_rsp), memories.bus_rsp)
        for name in (
            "context",
            "prompt",
            "prompt_space",
            "generate",
            "end_tokens",
            "stop",
            "reset_state",
            "token",
            "done",
            "running",
            "generating",
            "occupied",
        ):
            self._join(m, name, generation)
        m.d.comb += generation.loading.eq(memories.writing)
        if memories.text:
            m.d.comb += [
                memories.text.read_address.eq(self.text_address),
                self.text.eq(memories.text.read_data),
            ]

        for name, unit, depth in (
            ("quantise", quantiser, 2),
            ("array", array, 4),
            ("sink", sink, 4),
        ):
            source = getattr(sequencer, name)
            queue = fifo.SyncFIFOBuffered(width=len(Value.cast(source.payload)), depth=depth)
            m.submodules[f"{name}_queue"] = restart(queue)
            self._through(m, source, queue, unit.command)
        wiring.connect(m, quantiser.filled, array.filled)
        wiring.connect(m, quantiser.scale, sink.scale)
        wiring.connect(m, array.o, sink.groups)
        if c.five_trits:
            wiring.connect(m, array.scales, sink.scales)
        wiring.connect(m, sink.logits, sampler.logits)
        # Memory ports.
        m.d.comb += [
            memories.vector_quantiser.read_address.eq(quantiser.vector_address),
            quantiser.vector_data.eq(memories.vector_quantiser.read_data),
            memories.vector_sink.read_address.eq(sink.vector_address),
            sink.vector_data.eq(memories.vector_sink.read_data),
            memories.state.read_address.eq(sink.state_address),
            sink.state_data.eq(memories.state.read_data),
            memories.write_vector.eq(sink.write_vector),
            memories.write_state.eq(sink.write_state),
            memories.vector_write.eq(sink.vector_write),
            memories.state_write.eq(sink.state_write),
            memories.write_data.eq(sink.write_data),
            memories.state_word.eq(sink.state_word),
        ]
        m.submodules.slots = slots = memories.slots()
        written = quantiser.slot, quantiser.slot_seat, quantiser.slot_address
        read = array.code_slot, array.code_seat, array.code_address
        m.d.comb += [
            slots.write_enable.eq(quantiser.slot_enable),
            slots.write_address.eq(memories.slot_address(*written)),
            slots.write_data.eq(quantiser.slot_data),
            slots.read_address.eq(memories.slot_address(*read)),
            array.code_data.eq(slots.read_data),
        ]
        if c.numerics.stochastic:
            m.submodules.generators = generators = StateGenerators(c)
            m.d.comb += [
                generators.embedded.eq(sequencer.embed.valid & sequencer.embed.ready),
                generators.seat.eq(sequencer.embed.payload.seat),
                generators.seating.eq(generation.seating),
                sink.generators.eq(generators.o),
            ]
        if c.attention:
            self._attending(m, memories, sequencer, quantiser, generation, restart)
        for unit in (memories, quantiser, sink, sampler):
            m.d.comb += unit.seating.eq(generation.seating)
        for unit in (sequencer, array):
            m.d.comb += unit.last.eq(generation.seating.last)

        m.d.comb += [
            quantiser.array_sum.eq(sink.array_sum),
            quantiser.settled.eq(sink.settled),
            quantiser.coming.eq(sink.coming),
            quantiser.rows.eq(sink.write_data),
            sink.listening.eq(quantiser.listening),
            array.written.eq(quantiser.written),
            quantiser.released.eq(array.released),
            quantiser.eps_outer.eq(sequencer.eps_outer),
            quantiser.eps_inner.eq(sequencer.eps_inner),
            sequencer.stored.eq(sink.done),
            sequencer.token.eq(generation.body_token),
            sequencer.run_body.eq(generation.run_body),
            sequencer.run_head.eq(generation.run_head),
            generation.idle.eq(sequencer.idle),
            generation.fault.eq(sequencer.fault),
            generation.sampled.eq(sampler.done),
            generation.sampled_token.eq(sampler.token),
            sampler.start.eq(sequencer.sample_start),
            sampler.count.eq(sequencer.sample_count),
            sampler.greedy.eq(generation.greedy),
            sampler.factor.eq(generation.factor),
            sampler.load.eq(generation.load_seed),
            sampler.loaded.eq(generation.context),
            sampler.seed.eq(generation.seed),
        ]
        tokens = generation.seating.last + 1  # of the pass that began in the cycle before
        body, head = Signal(), Signal()
        m.d.sync += [body.eq(generation.run_body), head.eq(generation.run_head)]
        events = {
            "cycles": generation.running & ~generation.token.valid & ~generation.done.valid,
            "bodies": Mux(body, tokens, 0),
            "heads": Mux(head, tokens, 0),
            "array_busy": array.busy,
            "wait_codes": array.wait_codes,
            "wait_sink": array.wait_sink,
            "wait_weights": array.wait_weights,
            "quantiser_busy": quantiser.busy,
            "sink_busy": sink.busy,
            "faults": sequencer.fault,
        }
        for k, name in enumerate(COUNTERS):
            count = Signal(32, name=f"count_{name}")
            m.d.sync += count.eq(count + events[name])
            m.d.comb += self.counters[k].eq(count)
        return m

    def _attending(
        self,
        m: Module,
        memories: Memories,
        sequencer: Sequencer,
        quantiser: Quantiser,
        generation: Generation,
        restart: Callable[[Any], Any],
    ) -> None:
        """The unit of attention; it reads what the quantiser, which then rests, reads else."""
        unit = Attention(self.config)
        if memories.cache is None:
            assert self.outside is not None
            for mine, theirs in (
                (unit.row, self.outside.cache_row),
                (self.outside.cache_o, unit.beats),
                (unit.access, self.outside.cache_req),
                (self.outside.cache_rsp, unit.answer),
            ):
                wiring.connect(m, mine, theirs)
            m.d.comb += self.outside.cache_claim.eq(unit.claim)
        else:
            assert memories.cache.latency == LATENCY
            m.d.comb += [
                memories.cache.read_address.eq(unit.cache_address),
                memories.cache.write_enable.eq(unit.cache_write),
                memories.cache.write_address.eq(unit.cache_write_address),
                memories.cache.write_data.eq(unit.cache_word),
                unit.cache_data.eq(memories.cache.read_data),
            ]
        m.submodules.attention = restart(unit)
        wiring.connect(m, sequencer.attention, unit.command)
        begin = Signal()
        m.d.sync += begin.eq(generation.run_body)
        m.d.comb += [
            unit.begin.eq(begin),
            unit.seating.eq(generation.seating),
            unit.vector_data.eq(memories.vector_quantiser.read_data),
            unit.constant_data.eq(quantiser.constant_data),
            memories.attend.eq(unit.write),
            memories.attend_address.eq(unit.vector_write),
            memories.attend_data.eq(unit.write_data),
        ]
        if self.config.head_norms:
            m.d.comb += unit.eps.eq(sequencer.eps_outer)
        with m.If(unit.busy):
            m.d.comb += memories.vector_quantiser.read_address.eq(unit.vector_address)
            if self.outside:
                m.d.comb += self.outside.gains.address.eq(unit.constant_address)
            else:
                m.d.comb += memories.constant_address.eq(unit.constant_address)

    def _streamed(
        self,
        m: Module,
        memories: Memories,
        sequencer: Sequencer,
        array: TernaryArray,
        quantiser: Quantiser,
        sink: Sink,
        hung: Value,
    ) -> None:
        """Instructions, weights and constants from one external memory."""
        m.submodules.outside = outside = self.outside
        assert outside is not None
        wiring.connect(m, memories.weights_req, outside.weights_req)
        wiring.connect(m, memories.weights_rsp, outside.weights_rsp)
        wiring.connect(m, wiring.flipped(self.memory), outside.memory)
        wiring.connect(m, sequencer.embed, outside.embed)
        wiring.connect(m, outside.weights, array.weights)
        m.d.comb += [
            outside.restart.eq(sequencer.restart_weights),
            outside.changed.eq(memories.writing),
            outside.hung.eq(hung),
            sequencer.instructions.payload.eq(outside.instructions.payload),
            sequencer.instructions.valid.eq(outside.instructions.valid),
            outside.instructions.ready.eq(sequencer.instructions.ready),
            sequencer.broken.eq(outside.fault),
            sequencer.weights.ready.eq(1),  # a token reads the whole model once
            sequencer.gains_ready.eq(outside.gains.ready),
            sequencer.gates_ready.eq(outside.gates.ready),
            outside.gains.begun.eq(sequencer.gains_begun),
            outside.gates.begun.eq(sequencer.gates_begun),
            outside.gains.freed.eq(
                quantiser.command.valid & quantiser.command.ready
                | (sequencer.gains_freed if self.config.core.has(Op.NORM) else 0)
            ),
            outside.gates.freed.eq(sink.gates_freed),
            outside.gains.address.eq(quantiser.constant_address),
            quantiser.constant_data.eq(outside.gains.data),
            outside.gates.address.eq(sink.gate_address),
            sink.gate_data.eq(outside.gates.data),
            memories.copy.eq(outside.write),
            memories.copy_address.eq(outside.address),
            memories.copy_data.eq(outside.data),
        ]

    def _inside(
        self,
        m: Module,
        memories: Memories,
        sequencer: Sequencer,
        array: TernaryArray,
        quantiser: Quantiser,
        sink: Sink,
        restart: Callable[[Any], Any],
    ) -> None:
        """Instructions, weights and constants from block RAM."""
        m.submodules.fetch = fetch = restart(ProgramFetch(self.config))
        wiring.connect(m, fetch.o, sequencer.instructions)
        wiring.connect(m, sequencer.embed, memories.embed)
        store = memories.weights
        assert store is not None and store.latency == LEAD
        reader = WeightReader(self.config, store.depth, store.width)
        m.submodules.reader = restart(reader)
        queue = fifo.SyncFIFOBuffered(width=len(reader.command.payload), depth=4)
        m.submodules.weights_queue = restart(queue)
        self._through(m, sequencer.weights, queue, reader.command)
        m.d.comb += [
            fetch.idle.eq(sequencer.idle),
            fetch.run_body.eq(sequencer.run_body),
            fetch.run_head.eq(sequencer.run_head),
            fetch.body_ended.eq(sequencer.body_ended),
            fetch.data.eq(memories.program.read_data),
            memories.program.read_address.eq(fetch.address),
            memories.constant_address.eq(quantiser.constant_address),
            quantiser.constant_data.eq(memories.constants.read_data),
            memories.gates.read_address.eq(sink.gate_address),
            sink.gate_data.eq(memories.gates.read_data),
            reader.last.eq(array.last),
            reader.data.eq(store.read_data),
            store.read_address.eq(reader.address),
            reader.restart.eq(sequencer.restart_weights),
            array.weights.payload.eq(reader.o.payload),  # what is longer is padding
            array.weights.valid.eq(reader.o.valid),
            reader.o.ready.eq(array.weights.ready),
        ]

    def _join(self, m: Module, name: str, generation: Generation) -> None:
        mine, unit = getattr(self, name), getattr(generation, name)
        if isinstance(mine, Value):
            out = self.signature.members[name].flow is Out
            m.d.comb += mine.eq(unit) if out else unit.eq(mine)
        else:
            wiring.connect(m, wiring.flipped(mine), unit)

    @staticmethod
    def _through(m: Module, source: object, queue: fifo.SyncFIFOBuffered, unit: object) -> None:
        m.d.comb += [
            queue.w_data.eq(source.payload),  # type: ignore[attr-defined]
            queue.w_en.eq(source.valid),  # type: ignore[attr-defined]
            source.ready.eq(queue.w_rdy),  # type: ignore[attr-defined]
            unit.payload.eq(queue.r_data),  # type: ignore[attr-defined]
            unit.valid.eq(queue.r_rdy),  # type: ignore[attr-defined]
            queue.r_en.eq(unit.ready),  # type: ignore[attr-defined]
        ]
