"""The small core: what `setun.hw.core.Core` does, one number after the other."""

from math import log2

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import MemoryLayout, Space
from setun.firmware.program.isa import WORDS
from setun.hw.control.watchdog import patience as usual_patience
from setun.hw.link.sharing import silence_bits
from setun.hw.link.signature import Ties, core_members
from setun.hw.memory.contents import Contents, filled
from setun.hw.memory.external import memory_pins
from setun.hw.small.addresses import (
    BLOCK,
    TEXT,
    WEIGHT_BLOCKS,
    first_gate,
    first_state,
    first_text,
)
from setun.hw.small.array import RowSums
from setun.hw.small.candidates import Candidates
from setun.hw.small.control import Control
from setun.hw.small.datapath import Datapath
from setun.hw.small.generation import SmallGeneration
from setun.hw.small.pulse import Deadline, Pulse
from setun.hw.small.store import WIDTH, SingleStore, Store
from setun.hw.small.words import Next, Scalar, To, Where
from setun.hw.technology import GENERIC, Technology

TEXT_BITS = TEXT.bit_length() - 1


def ties(config: ChipConfig) -> Ties:
    """How the core is tied to the link."""
    return Ties(terminal=bool(config.terminal), ends=config.core.ends, shared=True)


def contents(config: ChipConfig, layout: MemoryLayout | None) -> dict[str, Contents]:
    """What the core's memories hold, by the name of their submodule."""
    spaces = layout.spaces if layout else {}
    weights = [int(w) >> shift & 0xFFFF for w in spaces.get(Space.WEIGHTS, ()) for shift in (0, 16)]
    if Space.TEXT in spaces:
        weights += [0] * (first_text(config) - len(weights))
        weights += [int(word) for word in spaces[Space.TEXT]]
    constants = [int(word) for word in spaces.get(Space.CONSTANTS, ())]
    constants += [0] * (first_gate(config) - len(constants))
    constants += [int(word) for word in spaces.get(Space.GATES, ())]
    numbers = [0] * (first_state(config) - len(Scalar))
    numbers.append(int(config.vector.to_bits(1.0)[0]))
    program = [int(word) for word in spaces.get(Space.PROGRAM, ())]
    elements = first_state(config) + config.state_elements
    return {
        "weights_store": filled(WIDTH, WEIGHT_BLOCKS * BLOCK, weights),
        "constants_store": filled(WIDTH, BLOCK, constants),
        "numbers_store": filled(config.vector.width, elements, numbers),
        "program_store": filled(32, WORDS * config.instructions, program),
    }


class SmallCore(wiring.Component):
    """Everything between the link and the pins, for one conversation.

    Parameters
    ----------
    config
        Sizes; of a chip with this core.
    layout
        Initial memory contents in simulation; the single-port RAM of an FPGA starts with anything.
    technology
        Cells of the memories, see `SingleStore`.
    patience
        Exponent of the cycles that a pass may take, twice at most; None for the configuration's.

    Members: the core's side of `setun.hw.link.link.Link`, documented there, without counters;
    `memory` has no pins.

    Attributes
    ----------
    beats
        A counter that runs freely, its highest bit at about 1 Hz.
    """

    def __init__(
        self,
        config: ChipConfig,
        layout: MemoryLayout | None = None,
        technology: Technology = GENERIC,
        *,
        patience: int | None = None,
    ) -> None:
        self.config, self.technology = config, technology
        members = {name: member.flip() for name, member in core_members(ties(config)).items()}
        super().__init__({**members, "memory": Out(memory_pins(config))})
        self._first_scalar = first_state(config) - len(Scalar)
        self.contents = contents(config, layout)
        slow = (
            usual_patience(config) if patience is None else patience,
            silence_bits(config.divisor),
        )
        self.pulse = Pulse(max(round(log2(config.clock_hz)), 1 + max(slow)), slow)
        self.beats = self.pulse.count

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        m.submodules.generation = generation = SmallGeneration(c)
        m.submodules.control = control = ResetInserter(generation.give_up)(Control(c))
        m.submodules.datapath = datapath = Datapath(c)
        m.submodules.sums = sums = RowSums(c, self.technology)
        m.submodules.candidates = candidates = Candidates(c)
        m.submodules.deadline = deadline = Deadline()
        found = {name: (held.width, list(held.words)) for name, held in self.contents.items()}
        m.submodules.pulse = self.pulse
        weights = SingleStore(WEIGHT_BLOCKS, self.technology, found["weights_store"][1])
        constants = SingleStore(1, self.technology, found["constants_store"][1])
        numbers, program = (
            Store(width, len(words), words)
            for width, words in (found["numbers_store"], found["program_store"])
        )
        m.submodules.weights_store, m.submodules.constants_store = weights, constants
        m.submodules.numbers_store, m.submodules.program_store = numbers, program
        m.submodules.codes_store = codes = Store(8, c.max_columns)
        for name in ("prompt", "generate", "token", "done"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(generation, name))
        word, request = control.word, self.generate.payload
        m.d.comb += [
            generation.end_tokens.eq(self.end_tokens),
            generation.stop.eq(self.stop),
            generation.reset_state.eq(self.reset_state),
            self.prompt_space.eq(generation.prompt_space),
            self.running.eq(generation.running),
            self.generating.eq(generation.generating),
            self.occupied.eq(generation.occupied),
            generation.idle.eq(control.idle & ~sums.busy),
            generation.fault.eq(control.fault),
            generation.sampled.eq(control.sampled),
            generation.sampled_token.eq(candidates.token),
            deadline.busy.eq(generation.passing),
            deadline.strobe.eq(self.pulse.strobes[0]),
            generation.hung.eq(deadline.late),
            control.run_body.eq(generation.run_body),
            control.run_head.eq(generation.run_head),
            control.token.eq(generation.body_token),
            control.program.eq(program.o),
            control.array_busy.eq(sums.busy),
            datapath.word.eq(word),
            datapath.row.eq(sums.o),
            datapath.shift.eq(control.shift),
            datapath.constant.eq(constants.o),
            datapath.immediate.eq(Mux(word.factor, request.inv_temperature, program.o)),
            sums.start.eq(control.group),
            sums.give_up.eq(generation.give_up),
            sums.columns.eq(control.columns),
            sums.row.eq(control.row),
            sums.weights.eq(weights.o),
            sums.code.eq(codes.o),
            codes.address.eq(sums.column),
            codes.write.eq(datapath.code_write),
            codes.write_address.eq(datapath.code_address),
            codes.data.eq(datapath.code),
            candidates.late.eq(datapath.late),
            candidates.greedy.eq(request.greedy),
            candidates.take_greedy.eq(word.to == To.KEY_GREEDY),
            candidates.take_random.eq(word.to == To.KEY_RANDOM),
            candidates.index.eq(control.element),
            candidates.load.eq(generation.load_seed),
            candidates.seed.eq(generation.seed),
        ]
        # Where in data memory.
        element = control.element
        base = Signal.like(control.source)
        place = Signal(range(numbers.depth))
        write = Signal()
        step = control.following & ~word.write
        with m.Switch(word.where):
            with m.Case(Where.SOURCE):
                m.d.comb += base.eq(control.source)
            with m.Default():
                m.d.comb += base.eq(control.destination)
        within = (Cat(Const(1, 1), base) + Cat(step, element))[1:]
        fresh = Signal()
        m.d.sync += fresh.eq((word.where == Where.STATE) & generation.fresh)
        m.d.comb += datapath.memory.eq(Mux(fresh, 0, numbers.o))
        with m.Switch(word.where):
            with m.Case(Where.STATE):
                m.d.comb += place.eq(within + first_state(c))
            with m.Case(Where.SCALAR):
                m.d.comb += place.eq(self._first_scalar | word.scalar)
            with m.Default():
                m.d.comb += place.eq(within)
        # Which weight and which constant.
        taken = Signal(range(weights.blocks * BLOCK))
        with m.If(control.restart):
            m.d.sync += taken.eq(0)
        with m.Elif(sums.take):
            m.d.sync += taken.eq(taken + 1)
        here = Mux(word.pair, Cat(word.odd, element), element)
        constant = Signal(range(BLOCK))
        ahead = Cat(Const(1, 1), control.base) + Cat(control.following, here)
        m.d.comb += [
            constant.eq(ahead[1:]),
            write.eq(word.write),
            numbers.write_address.eq(place),
            numbers.address.eq(place),
            numbers.data.eq(datapath.bus),
            numbers.write.eq(write),
            weights.address.eq(taken),
            constants.address.eq(constant),
            program.address.eq(control.program_address),
        ]
        self._bus(m, control.idle, weights, constants, numbers, program)
        m.d.comb += generation.loading.eq(self.bus_req.valid & self.bus_req.payload.write)
        if c.terminal:
            self._text(m, sums.take, weights)
        assert Next.ON == 0
        return m

    def _bus(
        self,
        m: Module,
        idle: Value,
        weights: SingleStore,
        constants: SingleStore,
        numbers: Store,
        program: Store,
    ) -> None:
        """The link's access, a word of 32 bits as two of 16 where they lie in weight memory."""
        request, address = self.bus_req.payload, self.bus_req.payload.address
        space, data = request.space, request.data
        half, low = Signal(), Signal(WIDTH)
        turn, answering = Signal(), Signal.like(space)
        writing = turn & request.write
        of_weights, of_text = space == Space.WEIGHTS, Const(0, 1)
        weight: Value = Cat(half, address)
        if self.config.terminal:
            of_text = space == Space.TEXT
            weight = Mux(of_text, first_text(self.config) | address[:TEXT_BITS], weight)
        with m.If(idle):
            m.d.comb += [
                weights.address.eq(weight),
                constants.address.eq(
                    Mux(space == Space.GATES, first_gate(self.config) | address, address)
                ),
                numbers.address.eq(
                    Mux(space == Space.STATE, address + first_state(self.config), address)
                ),
                program.address.eq(address),
            ]
        m.d.comb += [
            weights.data.eq(data.word_select(half, WIDTH)),
            weights.write.eq(writing & (of_weights | of_text)),
            constants.data.eq(data),
            constants.write.eq(writing & ((space == Space.CONSTANTS) | (space == Space.GATES))),
            program.write_address.eq(address),
            program.data.eq(data),
            program.write.eq(writing & (space == Space.PROGRAM)),
        ]
        with m.If(writing & ((space == Space.STATE) | (space == Space.VECTOR))):
            m.d.comb += [
                numbers.write.eq(1),
                numbers.write_address.eq(numbers.address),
                numbers.data.eq(data),
            ]
        with m.FSM():
            with m.State("WAIT"), m.If(self.bus_req.valid & idle):
                m.d.comb += turn.eq(1)
                m.next = "SECOND"
            with m.State("SECOND"):
                m.d.sync += [low.eq(weights.o), answering.eq(space)]
                m.d.comb += [half.eq(1), turn.eq(of_weights), self.bus_req.ready.eq(1)]
                m.next = "WAIT"
                with m.If(~request.write):
                    m.next = "ANSWER"
            # The link waits for its word, and takes it at once.
            with m.State("ANSWER"):
                m.d.comb += self.bus_rsp.valid.eq(1)
                m.next = "WAIT"
        with m.Switch(answering):
            with m.Case(Space.PROGRAM):
                m.d.comb += self.bus_rsp.payload.eq(program.o)
            with m.Case(Space.WEIGHTS):
                m.d.comb += self.bus_rsp.payload.eq(Cat(low, weights.o))
            if self.config.terminal:
                with m.Case(Space.TEXT):
                    m.d.comb += self.bus_rsp.payload.eq(low)
            with m.Case(Space.CONSTANTS, Space.GATES):
                m.d.comb += self.bus_rsp.payload.eq(constants.o)
            with m.Default():
                m.d.comb += self.bus_rsp.payload.eq(numbers.o)

    def _text(self, m: Module, taking: Value, weights: SingleStore) -> None:
        """The terminal's words lie behind the weights: looked up while the array takes none."""
        m.d.comb += self.strobe.eq(self.pulse.strobes[1])
        turn = Signal()
        m.d.comb += turn.eq(self.text_wanted & ~self.text_found & ~taking & ~self.bus_req.valid)
        m.d.sync += self.text_found.eq(turn)
        with m.If(turn):
            m.d.comb += weights.address.eq(first_text(self.config) | self.text_address)
        # Single-port RAM starts with anything, which no model has written.
        written = Signal(init=not self.technology.single_port_ram)
        if self.technology.single_port_ram:
            with m.If(weights.write & (self.bus_req.payload.space == Space.TEXT)):
                m.d.sync += written.eq(1)
        m.d.comb += self.text.eq(Cat(weights.o[:8], weights.o[8] & written))
