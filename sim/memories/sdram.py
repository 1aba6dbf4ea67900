"""Model of an SDR SDRAM that latches the first violation of its datasheet."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.memory.controllers.sdram_timing import BANKS, Command, SdramPart, sdram_pins
from setun.sim.memories.bulk import BulkStore
from setun.sim.memories.sdram_rules import (
    POSTPONED,
    Rule,
    needed_cycles,
    violation_layout,
)

AGE_BITS = 16


def pattern(address: int, dq: int) -> int:
    """What a model with `patterned` holds in a beat that nobody has written."""
    return (address * 0x9E3779B1 & 0xFFFFFFFF) >> (32 - dq)


class SdramModel(wiring.Component):
    """An SDR SDRAM: bank states, bursts, data and every minimum time of the datasheet.

    Compiled with the design that it serves; the simulation reads `violation` and fails when its
    code is not zero, with `sdram_rules.describe`.

    Parameters
    ----------
    part
        Geometry and figures.
    clock_hz
        Of the domain `sync`, which is the part's clock.
    depth
        Beats that the model holds; accesses beyond break `Rule.RANGE`. None holds all of the
        part.
    init
        First beats' contents.
    patterned
        Beats without contents read as `pattern` of their address, not as zero, and those
        beyond `depth` too: only writes to them break the rule.
    power_up_us
        Replaces the part's pause after power-up, to shorten simulations.
    bulk
        Keep the beats in a `BulkStore`: for depths of a whole part. It starts as zeros.

    Members
    -------
    pins : In
        See `setun.hw.memory.controllers.sdram_timing.sdram_pins`. Sampled at the end of a cycle;
        the data of a READ in cycle c are on `dq_i` in cycle c + CAS latency. Whenever the part does
        not drive, `dq_i` holds a word that changes every cycle.
    violation : Out
        The first rule broken, see `sdram_rules.Rule`: its code, the command (NOP if none),
        bank and cycle since reset, and the cycles found, or the refreshes outstanding. Stays
        until reset; reset also takes the part back to power-up, with its contents kept.

    Not modelled: auto precharge, power-down, self refresh, interleaved and full-page bursts; a
    controller that uses them breaks a rule.
    """

    def __init__(
        self,
        part: SdramPart,
        clock_hz: float,
        *,
        depth: int | None = None,
        init: Sequence[int] = (),
        patterned: bool = False,
        power_up_us: float | None = None,
        bulk: bool = False,
    ) -> None:
        self.bulk = bulk
        self.part, self.clock_hz = part, clock_hz
        self.depth = part.capacity * 8 // part.dq if depth is None else depth
        self.patterned = patterned
        self.init = [
            word ^ pattern(k, part.dq) if patterned else word for k, word in enumerate(init)
        ]
        self.power_up_us = part.power_up_us if power_up_us is None else power_up_us
        super().__init__({"pins": In(sdram_pins(part)), "violation": Out(violation_layout)})
        # Rules, when they are broken, and what was found then.
        self._rules: list[tuple[Rule, Value, Value | int]] = []
        self.command = Signal(Command, init=Command.NOP)
        self.is_ = {c: self.command == c for c in Command}
        self.mode = Signal(data.StructLayout({"burst": 2, "cas3": 1, "single": 1}))
        self.cycle = Signal(32)  # since power-up
        self.ready = Signal()  # initialised
        self.active, self.closing = Signal(BANKS), Signal(BANKS)
        self.written = Signal(BANKS)  # a word is written this cycle
        row_bits = (part.rows - 1).bit_length()
        self.rows = Array(Signal(row_bits, name=f"row{b}") for b in range(BANKS))

    def _needed(self, rule: Rule) -> int:
        cycles = needed_cycles(self.part, rule, self.clock_hz, self.power_up_us)
        assert cycles is not None
        return cycles

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._rules.clear()
        pins = self.pins
        m.d.comb += self.command.eq(
            Mux(pins.cs_n | ~pins.cke, Command.NOP, Cat(pins.we_n, pins.cas_n, pins.ras_n))
        )
        self._banks(m)
        self._initialisation(m)
        self._refreshes(m)
        reads, writes = self._bursts(m)
        self._store(m, *reads, *writes)
        self._latch(m)
        return m

    def _broken(self, rule: Rule, condition: Value, found: Value | int = 0) -> None:
        self._rules.append((rule, condition, found))

    def _age(self, m: Module, event: Value, name: str) -> Signal:
        """Cycles since `event`, as of this cycle; large before the first one."""
        age = Signal(AGE_BITS, init=(1 << AGE_BITS) - 1, name=f"age_{name}")
        with m.If(event):
            m.d.sync += age.eq(1)
        with m.Elif(~age.all()):
            m.d.sync += age.eq(age + 1)
        return age

    def _since(self, rule: Rule, condition: Value, age: Value) -> None:
        self._broken(rule, condition & (age < self._needed(rule)), age)

    def _banks(self, m: Module) -> None:
        pins, is_ = self.pins, self.is_
        activate, precharge = is_[Command.ACTIVATE], is_[Command.PRECHARGE]
        column = is_[Command.READ] | is_[Command.WRITE]
        all_idle_needed = is_[Command.REFRESH] | is_[Command.LOAD_MODE]
        for b in range(BANKS):
            here = pins.ba == b
            close = precharge & (pins.a[10] | here)
            m.d.comb += self.closing[b].eq(close)
            with m.If(activate & here):
                m.d.sync += [self.active[b].eq(1), self.rows[b].eq(pins.a)]
            with m.If(close):
                m.d.sync += self.active[b].eq(0)
            opened = self._age(m, activate & here, f"activate{b}")
            closed = self._age(m, close & self.active[b], f"precharge{b}")
            written = self._age(m, self.written[b], f"write{b}")
            needs_idle = (activate & here) | all_idle_needed
            self._broken(Rule.BANK_IDLE, needs_idle & self.active[b])
            self._broken(Rule.BANK_OPEN, column & here & ~self.active[b])
            self._since(Rule.T_RP, needs_idle, closed)
            self._since(Rule.T_RC, (activate & here) | is_[Command.REFRESH], opened)
            self._since(Rule.T_RCD, column & here & self.active[b], opened)
            self._since(Rule.T_RAS, close & self.active[b], opened)
            self._since(Rule.T_WR, close, written)
            limit = self._needed(Rule.T_RAS_MAX)
            self._broken(Rule.T_RAS_MAX, self.active[b] & (opened > limit), opened)
        self._since(Rule.T_RRD, activate, self._age(m, activate, "activate"))
        self._broken(Rule.AUTO_PRECHARGE, column & pins.a[10])
        self._broken(Rule.RANGE, activate & (pins.a >= self.part.rows))
        low = Cat(pins.a[:10], pins.a[11:])
        self._broken(Rule.RANGE, column & (low >= self.part.columns))

    def _initialisation(self, m: Module) -> None:
        pins, is_ = self.pins, self.is_
        any_command = ~is_[Command.NOP]
        m.d.sync += self.cycle.eq(self.cycle + 1)
        self._broken(
            Rule.POWER_UP, any_command & (self.cycle < self._needed(Rule.POWER_UP)), self.cycle
        )
        awake = Signal()
        m.d.sync += awake.eq(awake | pins.cke)
        asleep = ~pins.cke & (awake | ~(pins.cs_n | (pins.ras_n & pins.cas_n & pins.we_n)))
        self._broken(Rule.CKE, asleep)

        precharged, loaded = Signal(), Signal()
        refreshed = Signal(range(self.part.init_refreshes + 1))
        with m.If(is_[Command.PRECHARGE] & pins.a[10]):
            m.d.sync += precharged.eq(1)
        enough = refreshed == self.part.init_refreshes
        with m.If(is_[Command.REFRESH] & ~enough):
            m.d.sync += refreshed.eq(refreshed + 1)
        accesses = is_[Command.ACTIVATE] | is_[Command.READ] | is_[Command.WRITE]
        early = (is_[Command.REFRESH] | is_[Command.LOAD_MODE]) & ~precharged
        self._broken(Rule.INIT, early | (accesses & ~(enough & loaded)))
        self._since(Rule.T_RFC, any_command, self._age(m, is_[Command.REFRESH], "refresh"))
        self._since(Rule.T_MRD, any_command, self._age(m, is_[Command.LOAD_MODE], "load_mode"))

        latencies = [latency for latency, _ in self.part.cas_hz]
        cas = pins.a[4:7]
        known = Cat(*(cas == latency for latency in latencies)).any()
        wrong = pins.a[2] | pins.a[3] | pins.a[7:9].any() | pins.a[10:].any() | pins.ba.any()
        self._broken(Rule.MODE, is_[Command.LOAD_MODE] & (wrong | ~known))
        for latency, highest in self.part.cas_hz:
            if self.clock_hz > highest:
                self._broken(Rule.CAS, is_[Command.LOAD_MODE] & (cas == latency), latency)
        with m.If(is_[Command.LOAD_MODE]):
            m.d.sync += [
                loaded.eq(1),
                self.mode.burst.eq(pins.a[:2]),
                self.mode.cas3.eq(cas == 3),
                self.mode.single.eq(pins.a[9]),
            ]
        m.d.comb += self.ready.eq(enough & loaded)

    def _refreshes(self, m: Module) -> None:
        """A debt that never exceeds `POSTPONED` and is paid `refreshes` + `POSTPONED` times in
        `refresh_ms` leaves `refreshes` in any window of that length."""
        part = self.part
        interval = int(self.clock_hz * part.refresh_ms / 1e3 / (part.refreshes + POSTPONED))
        count, debt = Signal(range(interval)), Signal(range(POSTPONED + 2))
        tick = count == interval - 1
        refresh = self.is_[Command.REFRESH]
        with m.If(self.ready):
            m.d.sync += count.eq(Mux(tick, 0, count + 1))
            with m.If(tick & ~refresh & (debt <= POSTPONED)):
                m.d.sync += debt.eq(debt + 1)
            with m.If(refresh & ~tick & (debt != 0)):
                m.d.sync += debt.eq(debt - 1)
        self._broken(Rule.T_REFI, debt > POSTPONED, debt)

    def _bursts(self, m: Module) -> tuple[tuple[Value, Value], tuple[Value, Value]]:
        """Address and presence of this cycle's element, of reads and of writes."""
        pins, is_ = self.pins, self.is_
        column_bits = (self.part.columns - 1).bit_length()
        block = Signal(column_bits)  # columns of a burst, less one
        m.d.comb += block.eq((1 << self.mode.burst) - 1)
        interrupt = is_[Command.READ] | is_[Command.WRITE] | is_[Command.BURST_STOP]
        results = []
        for command in (Command.READ, Command.WRITE):
            name = command.name.lower()
            left = Signal(3, name=f"{name}_left")
            bank = Signal(2, name=f"{name}_bank")
            column = Signal(column_bits, name=f"{name}_column")
            here = Signal(2, name=f"{name}_bank_now")
            at = Signal(column_bits, name=f"{name}_column_now")
            valid = Signal(name=f"{name}_valid")
            address = Signal(range(self.part.capacity * 8 // self.part.dq), name=f"{name}_address")
            m.d.comb += [here.eq(bank), at.eq(column)]
            with m.If(is_[command]):
                m.d.comb += [here.eq(pins.ba), at.eq(pins.a), valid.eq(1)]
                single = self.mode.single if command is Command.WRITE else 0
                m.d.sync += [left.eq(Mux(single, 0, block)), bank.eq(pins.ba)]
            with m.Elif((left != 0) & ~interrupt & ~self.closing.bit_select(bank, 1)):
                m.d.comb += valid.eq(1)
                m.d.sync += left.eq(left - 1)
            with m.Else():
                m.d.sync += left.eq(0)
            # Wraps inside of the block.
            m.d.sync += column.eq((at & ~block) | ((at + 1) & block))
            m.d.comb += address.eq(Cat(at, here, self.rows[here]))
            if command is Command.WRITE or not self.patterned:
                self._broken(Rule.RANGE, valid & (address >= self.depth))
            if command is Command.WRITE:
                m.d.comb += self.written.bit_select(here, 1).eq(valid)
            results.append((valid, address))
        return results[0], results[1]

    def _ports(self, m: Module) -> tuple[Any, Any]:
        """Read and write port of the beats."""
        if not self.bulk:
            m.submodules.store = store = memory.Memory(
                shape=unsigned(self.part.dq), depth=self.depth, init=self.init
            )
            return store.read_port(), store.write_port(granularity=8)
        m.submodules.store = bulk = BulkStore(self.part.dq, self.depth)
        out = SimpleNamespace(addr=bulk.read_address, data=bulk.read_data, en=Signal())
        into = SimpleNamespace(addr=bulk.write_address, data=bulk.write_data, en=bulk.write_enable)
        return out, into

    def _store(self, m: Module, read: Value, source: Value, write: Value, target: Value) -> None:
        pins, dq = self.pins, self.part.dq
        lanes = dq // 8
        out, into = self._ports(m)
        mask_in, mask_out = Signal(dq), Signal(dq)
        if self.patterned:
            shifted = 32 - dq
            m.d.comb += mask_in.eq((target * 0x9E3779B1)[shifted:32])
            m.d.sync += mask_out.eq((source * 0x9E3779B1)[shifted:32])
        m.d.comb += [
            out.addr.eq(source),
            out.en.eq(1),
            into.addr.eq(target),
            into.data.eq(pins.dq_o ^ mask_in),
            into.en.eq(Mux(write & (target < self.depth), ~pins.dqm, 0)),
        ]
        self._broken(Rule.WRITE_DATA, write & ~pins.dq_oe & ~pins.dqm.all())

        # One register in the memory, then CAS latency - 1 more.
        first = Signal(dq)
        stages = [(Signal(name=f"valid{k}"), Signal(dq, name=f"data{k}")) for k in range(3)]
        beyond = Signal()
        m.d.sync += beyond.eq(source >= self.depth)
        m.d.comb += first.eq(Mux(beyond, 0, out.data) ^ mask_out)
        m.d.sync += [
            stages[0][0].eq(read),
            stages[1][0].eq(stages[0][0]),
            stages[1][1].eq(first),
            stages[2][0].eq(stages[1][0]),
            stages[2][1].eq(stages[1][1]),
        ]
        masked, masked_before = Signal(lanes), Signal(lanes)
        m.d.sync += [masked.eq(pins.dqm), masked_before.eq(masked)]
        valid = Mux(self.mode.cas3, stages[2][0], stages[1][0])
        word = Mux(self.mode.cas3, stages[2][1], stages[1][1])
        drives = Signal(lanes)
        m.d.comb += drives.eq(Mux(valid, ~masked_before, 0))
        noise = Signal(32, init=1)
        m.d.sync += noise.eq(Cat(noise[31] ^ noise[21] ^ noise[1] ^ noise[0], noise[:31]))
        for k in range(lanes):
            byte = slice(8 * k, 8 * k + 8)
            m.d.comb += pins.dq_i[byte].eq(Mux(drives[k], word[byte], noise[byte]))

        driven = Signal()
        m.d.sync += driven.eq(drives.any())
        self._broken(Rule.DQ_CONFLICT, pins.dq_oe & drives.any())
        self._broken(Rule.TURNAROUND, pins.dq_oe & driven)

    def _latch(self, m: Module) -> None:
        code, found = Signal(5), Signal(24)
        for rule, condition, amount in sorted(self._rules, key=lambda entry: -entry[0]):
            with m.If(condition):
                m.d.comb += [code.eq(rule), found.eq(amount)]
        latched = self.violation
        with m.If(latched.code == 0):
            m.d.sync += [
                latched.code.eq(code),
                latched.command.eq(self.command),
                latched.bank.eq(self.pins.ba),
                latched.cycle.eq(self.cycle),
                latched.found.eq(found),
            ]
