"""Model of a quad SPI NOR flash that latches the first violation of its datasheet."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.memory_kinds import SECTOR
from setun.hw.memory.controllers.qspi_parts import PAGE, STATUS_2, FlashPart, flash_pins
from setun.sim.memories.bulk import BulkStore
from setun.sim.memories.flash_rules import Rule, violation_layout

PROGRAM_US, ERASE_US = 400.0, 45_000.0  # tPP and tSE as makers call them typical
WORD = 4  # bytes of a word of the store

RELEASE, ENABLE_RESET, RESET, NOTHING = 0xAB, 0x66, 0x99, 0xFF
STATUS, WRITE_ENABLE, ERASE, PROGRAM, READ = 0x05, 0x06, 0x20, 0x02, 0xEB
KEEP, END = 0xA5, 0xFF  # mode bytes that all makers take alike


class FlashModel(wiring.Component):
    """A quad SPI flash: 0xEB with continuous mode, page program, sector erase, quad enable bit.

    Compiled with the design that it serves; the simulation reads `violation` and fails when its
    code is not zero, with `flash_rules.describe`.

    Parameters
    ----------
    part
        Opcodes and figures.
    clock_hz
        Of the domain `sync`; SCK may have half of it.
    first, depth
        Bytes of the part that the model holds, whole sectors; an access beyond breaks
        `Rule.RANGE`. None holds all behind `first`.
    init
        Contents from `first` on, 32-bit words, the byte of the lowest address lowest.
    program_us, erase_us
        How long the part is busy with a page or its register, and with a sector: at least a
        cycle per word of it.
    settle_us
        Replaces the part's pause after wake-up and reset, to shorten simulations.
    other_bits
        Of the register with the quad enable bit, at power-up.
    continuous, powered
        The state in which the part is found.
    bulk
        Keep the words in a `BulkStore`: for large depths. It starts as zeros.

    Members
    -------
    pins : In
        See `setun.hw.memory.controllers.qspi_parts.flash_pins`. Data are on `io_i` in the cycle
        behind the one that shows SCK's fall. Undriven pins hold noise.
    violation : Out
        The first rule broken, see `flash_rules`: its code, the opcode and the cycle.
    register : Out(8)
        The one with the quad enable bit.

    Not modelled: other reads than 0xEB, protection, suspend, a reset that interrupts a write.
    """

    def __init__(
        self,
        part: FlashPart,
        clock_hz: float,
        *,
        first: int = 0,
        depth: int | None = None,
        init: Sequence[int] = (),
        program_us: float = PROGRAM_US,
        erase_us: float = ERASE_US,
        settle_us: float | None = None,
        other_bits: int = 0,
        continuous: bool = False,
        powered: bool = True,
        bulk: bool = False,
    ) -> None:
        if clock_hz > 2 * part.sck_hz:
            raise ValueError(f"{part.name} stands {part.sck_hz:g} Hz on SCK: {clock_hz=}")
        self.part, self.first, self.init, self.bulk = part, first, list(init), bulk
        self.depth = part.capacity - first if depth is None else depth
        if first % SECTOR or self.depth % SECTOR:
            raise ValueError(f"must be whole sectors: {first=}, {depth=}")

        def cycles(us: float) -> int:
            # In picoseconds, not as the controller computes it.
            return int(-(-round(us * 1e6) // (1e12 / clock_hz)))

        self.program_cycles = cycles(program_us)
        self.erase_cycles = max(cycles(erase_us), SECTOR // WORD + 2)
        self.settle = cycles(part.settle_us if settle_us is None else settle_us)
        self.deselect = cycles(part.deselect_ns / 1e3)
        self.quad_bit = part.quad_enable or STATUS_2
        first_register = other_bits | (0 if part.quad_enable else self.quad_bit.bit)
        super().__init__(
            {
                "pins": In(flash_pins()),
                "violation": Out(violation_layout),
                "register": Out(8, init=first_register),
            }
        )
        self._rules: list[tuple[Rule, Value]] = []  # and when they are broken
        self.latch = Signal()  # write enable
        # Edges of CS# and of SCK while it is low; the level of every pin, and what the part drives.
        self.begin, self.end, self.rise, self.fall = (
            Signal(name=name) for name in ("begin", "end", "rise", "fall")
        )
        self.drives, self.data, self.io = Signal(4), Signal(4), Signal(4)
        # The transaction: `value` when a byte is `full`, behind `index` others.
        self.opcode, self.address = Signal(8, init=NOTHING), Signal(24)
        self.quad, self.bits, self.index = Signal(), Signal(3), Signal(9)
        self.byte, self.value, self.full = Signal(8), Signal(8), Signal()
        self.staying = Signal(init=continuous)  # in continuous mode
        # The part: cycles until it is free, may be read in fours, has woken up, will answer.
        self.busy = Signal(range(max(self.erase_cycles, self.program_cycles) + 1))
        self.enabled, self.awake = Signal(), Signal(init=powered)
        self.recovering = Signal(range(self.settle + 1))
        # `address` is inside of the contents; the byte there; a sector is to be erased.
        self.within, self.found, self.erase = Signal(), Signal(8), Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._rules.clear()
        self._edges(m)
        self._bytes(m)
        self._opcodes(m)
        self._store(m)
        self._execute(m)
        self._answer(m)
        self._latch(m)
        return m

    def _broken(self, rule: Rule, condition: Value) -> None:
        self._rules.append((rule, condition))

    def _edges(self, m: Module) -> None:
        """Edges of CS# and SCK, and the level of every data pin, `io`."""
        pins = self.pins
        sck, cs_n = Signal(), Signal(init=1)
        m.d.sync += [sck.eq(pins.sck), cs_n.eq(pins.cs_n)]
        m.d.comb += [
            self.begin.eq(~pins.cs_n & cs_n),
            self.end.eq(pins.cs_n & ~cs_n),
            self.rise.eq(~pins.cs_n & pins.sck & ~sck),
            self.fall.eq(~pins.cs_n & ~pins.sck & sck),
        ]
        driven, noise = Signal(4), Signal(8, init=0x5A)
        m.d.sync += noise.eq(Cat(noise[7] ^ noise[5] ^ noise[4] ^ noise[3], noise[:7]))
        m.d.comb += [driven.eq(Mux(pins.cs_n, 0, self.drives)), pins.io_i.eq(self.io)]
        for k in range(4):
            theirs = Mux(pins.io_oe[k], pins.io_o[k], noise[k])
            m.d.comb += self.io[k].eq(Mux(driven[k], self.data[k], theirs))
        self._broken(Rule.CONFLICT, (driven & pins.io_oe).any())

        high = Signal(range(self.deselect + 1), init=self.deselect)
        with m.If(~pins.cs_n):
            m.d.sync += high.eq(0)
        with m.Elif(high != self.deselect):
            m.d.sync += high.eq(high + 1)
        self._broken(Rule.DESELECT, self.begin & (high != self.deselect))

    def _bytes(self, m: Module) -> None:
        """The transaction byte by byte: `value` when it is `full`, behind `index` others."""
        nibble, bit = Cat(self.io, self.byte[:4]), Cat(self.io[0], self.byte[:7])
        m.d.comb += [
            self.value.eq(Mux(self.quad, nibble, bit)),
            self.full.eq(self.rise & (self.bits == Mux(self.quad, 1, 7))),
        ]
        with m.If(self.rise):
            m.d.sync += [self.bits.eq(Mux(self.full, 0, self.bits + 1)), self.byte.eq(self.value)]
        with m.If(self.full):
            m.d.sync += self.index.eq(Mux(self.index.all(), self.index, self.index + 1))
            with m.If(self.index == 0):
                m.d.sync += self.opcode.eq(self.value)
            with m.Elif(self.index <= 3):
                m.d.sync += self.address.eq(Cat(self.value, self.address[:16]))
        with m.If(self.begin):
            m.d.sync += [
                self.bits.eq(0),
                self.index.eq(self.staying),
                self.quad.eq(self.staying),
                self.opcode.eq(Mux(self.staying, READ, NOTHING)),
            ]

    def _opcodes(self, m: Module) -> None:
        """What an opcode needs to be allowed, and what a mode byte says."""
        said, opens = self.value, self.full & (self.index == 0)
        early = Signal()
        with m.If(self.begin):
            m.d.sync += early.eq(~self.awake | (self.recovering != 0))

        def among(*opcodes: int) -> Value:
            return reduce(or_, (said == opcode for opcode in opcodes))

        wakes, writes = among(RELEASE, NOTHING), among(PROGRAM, ERASE, self.quad_bit.write)
        looks, resets = among(STATUS, self.quad_bit.read), among(ENABLE_RESET, RESET)
        known = wakes | writes | looks | resets | among(WRITE_ENABLE, READ)
        while_busy = wakes | resets | among(STATUS)
        self._broken(Rule.BUSY, opens & (self.busy != 0) & ~while_busy)
        self._broken(Rule.ASLEEP, opens & early & ~wakes)
        self._broken(Rule.UNKNOWN, opens & ~known)
        self._broken(Rule.LATCH, opens & writes & ~self.latch)
        self._broken(Rule.QUAD, opens & (said == READ) & ~self.enabled)
        self._broken(Rule.HOLD, self.rise & ~self.enabled & ~self.quad & ~self.io[3])
        with m.If(opens & (said == READ)):
            m.d.sync += self.quad.eq(self.enabled)
        mode = self.full & (self.opcode == READ) & (self.index == 4)
        with m.If(mode):
            m.d.sync += self.staying.eq(said[4:6] == 0b10)
        self._broken(Rule.MODE, mode & ~among(KEEP, END))

    def _store(self, m: Module) -> None:
        """The contents: the byte at `address`, in the next cycle; programming and erasing."""
        depth, sector = self.depth // WORD, SECTOR // WORD
        if self.bulk:
            m.submodules.store = bulk = BulkStore(8 * WORD, depth)
            place, word = bulk.read_address, bulk.read_data
            target, new, enable = bulk.write_address, bulk.write_data, bulk.write_enable
        else:
            m.submodules.store = store = memory.Memory(shape=8 * WORD, depth=depth, init=self.init)
            read, write = store.read_port(), store.write_port(granularity=8)
            place, word = read.addr, read.data
            target, new, enable = write.addr, write.data, write.en
        offset, lane = Signal(24), Signal(range(WORD))
        m.d.sync += lane.eq(self.address[:2])
        m.d.comb += [
            offset.eq(self.address - self.first),
            self.within.eq(offset < self.depth),
            place.eq(offset[2:]),
            self.found.eq(word.word_select(lane, 8)),
        ]
        # A byte's place is read when it has come, and written in the cycle after.
        arrives, stored, wrapped = Signal(), Signal(), Signal()
        behind = Signal.like(place)
        m.d.comb += arrives.eq(self.full & (self.opcode == PROGRAM) & (self.index >= 4))
        m.d.sync += [stored.eq(arrives & self.within), behind.eq(place)]
        with m.If(arrives):
            m.d.sync += [self.address[:8].eq(self.address[:8] + 1)]
            m.d.sync += wrapped.eq(self.address[:8] == PAGE - 1)
        with m.If(self.begin):
            m.d.sync += wrapped.eq(0)
        self._broken(Rule.PAGE, arrives & wrapped)

        left, start = Signal(range(sector + 1)), Signal.like(place)
        with m.If(self.erase):
            m.d.sync += [left.eq(sector), start.eq(place & -sector)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(left != 0):
            m.d.comb += [target.eq(start + (left - 1)), new.eq(-1), enable.eq(-1)]
        with m.Else():
            m.d.comb += [
                target.eq(behind),
                new.eq((self.byte & self.found).replicate(WORD)),
                enable.eq(Mux(stored, 1 << lane, 0)),
            ]
        self._broken(Rule.RANGE, (arrives | self.erase) & ~self.within)

    def _execute(self, m: Module) -> None:
        """What a transaction does when CS# rises behind it."""
        armed, whole = Signal(), self.bits == 0
        setting = self.quad_bit.write
        m.d.comb += self.enabled.eq((self.register & self.quad_bit.bit) != 0)
        for count in (self.busy, self.recovering):
            with m.If(count != 0):
                m.d.sync += count.eq(count - 1)
        complete = {PROGRAM: self.index >= 5, ERASE: self.index == 4, setting: self.index == 2}
        for opcode, all_there in complete.items():
            self._broken(Rule.PARTIAL, self.end & (self.opcode == opcode) & ~(whole & all_there))
        with m.If(self.end):
            m.d.sync += armed.eq(self.opcode == ENABLE_RESET)
            with m.Switch(self.opcode):
                with m.Case(RELEASE):
                    m.d.sync += self.awake.eq(1)
                    with m.If(~self.awake):
                        m.d.sync += self.recovering.eq(self.settle - 1)
                with m.Case(RESET):
                    with m.If(armed):
                        m.d.sync += [self.latch.eq(0), self.recovering.eq(self.settle - 1)]
                with m.Case(WRITE_ENABLE):
                    m.d.sync += self.latch.eq(1)
                with m.Case(PROGRAM):
                    m.d.sync += [self.latch.eq(0), self.busy.eq(self.program_cycles)]
                with m.Case(setting):
                    m.d.sync += [self.latch.eq(0), self.busy.eq(self.program_cycles)]
                    m.d.sync += self.register.eq(self.byte)
                with m.Case(ERASE):
                    m.d.comb += self.erase.eq(1)
                    m.d.sync += [self.latch.eq(0), self.busy.eq(self.erase_cycles)]

    def _answer(self, m: Module) -> None:
        """What the part drives: data behind the dummy clocks of a read, or a register."""
        waited, at = Signal(range(self.part.dummy + 1)), Signal(3)
        said, beyond = Signal(8), Signal()
        reads = (self.opcode == READ) & (self.index >= 5)
        looks = (self.opcode == STATUS) | (self.opcode == self.quad_bit.read)
        m.d.comb += said.eq(self.register)
        with m.If(self.opcode == STATUS):
            # Where that is the register with the quad enable bit, these two are not stored.
            m.d.comb += said.eq(self.register if self.quad_bit.read == STATUS else 0)
            m.d.comb += said[:2].eq(Cat(self.busy != 0, self.latch))
        with m.If(reads & self.rise & (waited != self.part.dummy)):
            m.d.sync += waited.eq(waited + 1)
        gives = self.fall & reads & (waited == self.part.dummy)
        with m.If(gives):
            m.d.sync += [self.drives.eq(0b1111), self.data.eq(self.found.word_select(~at[0], 4))]
            m.d.sync += [at.eq(at + 1), self.address.eq(self.address + at[0])]
            m.d.sync += beyond.eq(~self.within)
        with m.If(self.fall & looks & (self.index != 0)):
            m.d.sync += [
                self.drives.eq(0b0010),
                self.data.eq(Cat(C(0, 1), said[::-1].bit_select(at, 1))),
            ]
            m.d.sync += at.eq(at + 1)
        with m.If(self.begin | self.end):
            m.d.sync += [self.drives.eq(0), at.eq(0), waited.eq(0), beyond.eq(0)]
        # The last clock of a read brings forth what nobody takes: only a further one counts.
        self._broken(Rule.RANGE, self.rise & beyond)

    def _latch(self, m: Module) -> None:
        code, cycle, latched = Signal(4), Signal(32), self.violation
        m.d.sync += cycle.eq(cycle + 1)
        for rule, condition in sorted(self._rules, key=lambda entry: -entry[0]):
            with m.If(condition):
                m.d.comb += code.eq(rule)
        with m.If(latched.code == 0):
            m.d.sync += [latched.code.eq(code), latched.cycle.eq(cycle)]
            opens = self.full & (self.index == 0)
            m.d.sync += latched.opcode.eq(Mux(opens, self.value, self.opcode))
