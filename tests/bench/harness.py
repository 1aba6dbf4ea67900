"""Units of the core joined to the memories they need, for benches."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import SLOTS, ChipConfig
from setun.hw.array.array import TernaryArray
from setun.hw.array.weights import LEAD, WeightReader, decode_trits, lead, unpack_weights
from setun.hw.control.fetch import ProgramFetch
from setun.hw.control.generation import Generation
from setun.hw.control.sequencer import Sequencer
from setun.hw.memory.spaces import SlotMemory
from setun.hw.memory.store import Store, bus_signature
from setun.hw.pipeline import delayed
from setun.hw.seats import within


class Parts(wiring.Component):
    """Units side by side, each behind ports of its name: one compilation serves all."""

    def __init__(self, units: Mapping[str, wiring.Component]) -> None:
        self.units = dict(units)
        super().__init__({name: Out(unit.signature) for name, unit in self.units.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            wiring.connect(m, wiring.flipped(getattr(self, name)), unit)
        return m


class ArrayHarness(wiring.Component):
    """`TernaryArray` on its slot memory, joined as in the core; slots are written by the bench.

    Members: the array's streams, flags and `last`; `slot_enable`, `slot`, `slot_seat`,
    `slot_address`, `slot_data` as of the quantiser, whose strobe is the array's `written`. Bits of
    weights and of slots come as much later than their transfer as the chip's do.
    """

    PORTS = (
        "command",
        "last",
        "filled",
        "released",
        "weights",
        "o",
        "busy",
        "wait_codes",
        "wait_sink",
        "wait_weights",
    )

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.array = TernaryArray(config, lead=lead(config))
        depth = (SLOTS * config.contexts) << ceil_log2(max(config.slot_words, 2))
        self.slots = SlotMemory(8 * config.columns, depth)
        inner = self.array.signature.members
        self.ports = (*self.PORTS, "scales") if config.five_trits else self.PORTS
        super().__init__(
            {
                **{name: inner[name] for name in self.ports},
                "slot_enable": In(1),
                "slot": In(inner["code_slot"].shape),
                "slot_seat": In(inner["code_seat"].shape),
                "slot_address": In(inner["code_address"].shape),
                "slot_data": In(8 * config.columns),
            }
        )

    def _address(self, slot: Value, seat: Value, word: Value) -> Value:
        return Cat(within(word, self.config.slot_words, seat, self.config.contexts), slot)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.array = array = self.array
        m.submodules.slots = slots = self.slots
        for name in self.ports:
            mine, unit = getattr(self, name), getattr(array, name)
            if name == "weights":
                continue
            if isinstance(mine, Value):
                out = array.signature.members[name].flow is Out
                m.d.comb += mine.eq(unit) if out else unit.eq(mine)
            else:
                wiring.connect(m, wiring.flipped(mine), unit)
        written = self.slot, self.slot_seat, self.slot_address
        read = array.code_slot, array.code_seat, array.code_address
        late = array.early
        m.d.comb += [
            array.weights.payload.eq(delayed(m, self.weights.payload, array.lead, "weights")),
            array.weights.valid.eq(self.weights.valid),
            self.weights.ready.eq(array.weights.ready),
            array.written.eq(self.slot_enable),
            slots.write_enable.eq(delayed(m, self.slot_enable, late, "enable", reset=True)),
            slots.write_address.eq(delayed(m, self._address(*written), late, "address")),
            slots.write_data.eq(delayed(m, self.slot_data, late, "data")),
            slots.read_address.eq(self._address(*read)),
            array.code_data.eq(slots.read_data),
        ]
        return m


class WeightPath(wiring.Component):
    """A weight `Store` and the `WeightReader` on it, joined as in the core, and a queue.

    Members: `bus : In`, `restart : In(1)`, `command : In(stream)`, `last : In`, `o : Out(stream)`.
    """

    AHEAD = 8  # words taken before they are wanted

    def __init__(self, store: Store, config: ChipConfig) -> None:
        self.store = store
        assert store.latency == LEAD
        self.reader = WeightReader(config, store.depth, store.width)
        inner = self.reader.signature.members
        super().__init__(
            {
                "bus": In(bus_signature()),
                **{name: inner[name] for name in ("restart", "command", "last", "o")},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = self.store
        m.submodules.reader = reader = self.reader
        wiring.connect(m, wiring.flipped(self.bus), store.bus)
        wiring.connect(m, wiring.flipped(self.command), reader.command)
        queue = fifo.SyncFIFO(width=len(self.o.payload), depth=self.AHEAD)
        m.submodules.queue = ResetInserter(self.restart)(queue)
        ahead = Signal(range(self.AHEAD + 1))
        taken = Signal()
        m.d.comb += [
            reader.o.ready.eq(ahead != self.AHEAD),
            taken.eq(reader.o.valid & reader.o.ready & ~self.restart),
            queue.w_data.eq(reader.o.payload),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        arriving = Signal(LEAD)
        m.d.comb += queue.w_en.eq(arriving[-1])
        m.d.sync += [
            arriving.eq(Mux(self.restart, 0, Cat(taken, arriving))),
            ahead.eq(Mux(self.restart, 0, ahead + taken - (self.o.valid & self.o.ready))),
        ]
        m.d.comb += [
            reader.restart.eq(self.restart),
            reader.last.eq(self.last),
            store.read_address.eq(reader.address),
            reader.data.eq(store.read_data),
        ]
        return m


class Unpackers(wiring.Component):
    """Both packings of weight words, and the decoder of a single byte; combinational.

    Members: `byte : In(8)`, `pairs : Out(10)`; for each configuration k `packed<k> : In`,
    `weights<k> : Out(2 * macs)`.
    """

    def __init__(self, configs: list[ChipConfig]) -> None:
        self.configs = configs
        members = {"byte": In(8), "pairs": Out(10)}
        for k, config in enumerate(configs):
            members[f"packed{k}"] = In(config.weight_bits)
            members[f"weights{k}"] = Out(2 * config.macs)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.pairs.eq(decode_trits(self.byte))
        for k, config in enumerate(self.configs):
            part = Module()
            packed = getattr(self, f"packed{k}")
            part.d.comb += getattr(self, f"weights{k}").eq(unpack_weights(part, config, packed))
            m.submodules[f"unpack{k}"] = part
        return m


class ControlHarness(wiring.Component):
    """`Generation`, `Sequencer` and `ProgramFetch` joined as in the core; the bench plays the rest.

    Members: those of the first two but the ports between them; `run_body` and `run_head` are shown;
    `program_address : Out`, `program_data : In(32)`.
    """

    BETWEEN = (
        *("run_body", "run_head", "idle", "fault", "last", "body_token"),
        *("instructions", "body_ended"),
    )

    def __init__(self, config: ChipConfig) -> None:
        self.sequencer, self.generation = Sequencer(config), Generation(config)
        self.fetch = ProgramFetch(config)
        self.shared = {
            name: member
            for unit in (self.sequencer, self.generation)
            for name, member in unit.signature.members.items()
            if name not in self.BETWEEN and not (unit is self.sequencer and name == "token")
        }
        program = {
            "program_address": self.fetch.signature.members["address"],
            "program_data": self.fetch.signature.members["data"],
        }
        super().__init__({**self.shared, **program, "run_body": Out(1), "run_head": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sequencer, generation = self.sequencer, self.generation
        m.submodules.sequencer = ResetInserter(self.hung)(sequencer)
        m.submodules.generation = generation
        m.submodules.fetch = fetch = ResetInserter(self.hung)(self.fetch)
        wiring.connect(m, fetch.o, sequencer.instructions)
        m.d.comb += [
            fetch.idle.eq(sequencer.idle),
            fetch.run_body.eq(generation.run_body),
            fetch.run_head.eq(generation.run_head),
            fetch.body_ended.eq(sequencer.body_ended),
            self.program_address.eq(fetch.address),
            fetch.data.eq(self.program_data),
        ]
        for name, member in self.shared.items():
            inner = name in generation.signature.members
            mine, unit = getattr(self, name), getattr(generation if inner else sequencer, name)
            if member.is_signature:
                wiring.connect(m, wiring.flipped(mine), unit)
            else:
                m.d.comb += mine.eq(unit) if member.flow is Out else unit.eq(mine)
        m.d.comb += [
            sequencer.token.eq(generation.body_token),
            sequencer.last.eq(generation.seating.last),
            sequencer.run_body.eq(generation.run_body),
            sequencer.run_head.eq(generation.run_head),
            generation.idle.eq(sequencer.idle),
            generation.fault.eq(sequencer.fault),
            self.run_body.eq(generation.run_body),
            self.run_head.eq(generation.run_head),
        ]
        return m
