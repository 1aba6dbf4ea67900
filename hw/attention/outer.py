"""A cache in the external memory: rows read in sequence, words written one by one."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetInserter, Signal, Value, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.attention.cache import LATENCY, WEIGHING, inner_members
from setun.hw.attention.sizes import CODE_BITS, parts_of
from setun.hw.memory.controllers.gearbox import Gearbox
from setun.hw.memory.spaces import weights_bus
from setun.hw.memory.stream.row_reader import CACHE_COUNT_BITS, row_command
from setun.hw.pipeline import delayed

WORD = 4  # bytes of what is written at once


def address_bits(config: ChipConfig) -> int:
    """Of a beat's number in the external memory."""
    return (config.external_bytes * 8 // config.beat - 1).bit_length()


class OuterCache(wiring.Component):
    """Keys position by position, values word by word of a head, exponents a byte a position.

    `setun.firmware.image.cache_map` says where they lie. What is asked for comes as one stream:
    exponents of keys, of values, which are kept here, then codes of keys, then of values, all up
    to the token's own position.

    Members
    -------
    row : Out(stream of `row_command`), beats : In(stream of beats)
        Rows that are read, and what they hold.
    access, answer
        Words written, and those read to be changed; see `setun.hw.memory.spaces.weights_bus`.
    claim : Out(1)
        Words are to be written: nothing should be read that is not asked for here.

    The others are `setun.hw.attention.cache.inner_members`.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        row, bus = row_command(address_bits(config), CACHE_COUNT_BITS), weights_bus()
        self.outer = {
            "row": Out(stream.Signature(row)),
            "beats": In(stream.Signature(config.beat)),
            "access": bus["weights_req"],
            "answer": bus["weights_rsp"],
            "claim": Out(1),
        }
        super().__init__({**inner_members(config), **self.outer})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        bits = CODE_BITS * c.attention
        # What a pass that was given up has left there must not come before this one's.
        m.submodules.gearbox = gearbox = ResetInserter(self.ask)(Gearbox(c.beat, bits))
        wiring.connect(m, wiring.flipped(self.beats), gearbox.i)
        word = gearbox.o
        self._ask(m)
        flowing = self._exponents(m, word)
        issue = self.score | self.weigh
        m.d.comb += self.ready.eq(flowing & word.valid)
        with m.If(issue):
            m.d.comb += word.ready.eq(1)

        # Codes wait for their flags, those of values for their terms.
        m.submodules.waiting = waiting = memory.Memory(shape=bits, depth=8, init=[])
        put, get = waiting.write_port(), waiting.read_port()
        now = Signal(3)
        scored = delayed(m, self.score, LATENCY - 1, "scored", reset=True)
        m.d.sync += now.eq(now + 1)
        m.d.comb += [
            put.en.eq(1),
            put.addr.eq(now),
            put.data.eq(word.payload),
            get.addr.eq(now - Mux(scored, LATENCY - 1, WEIGHING - 1)),
            self.codes.eq(get.data),
        ]
        self._store(m)
        return m

    def _context(self) -> Value:
        """Byte at which the exponents of the context begin."""
        c = self.config
        starts = [c.cache_base + k * c.outer_bytes for k in range(c.contexts)]
        every = Array(Const(start, unsigned(35)) for start in starts)
        return every[self.context]

    def _at(self, first: Value, word: Value, bytes_of: int) -> Value:
        """Byte at which `bytes_of` bytes a position begin for a word of the cache."""
        shift = ceil_log2(self.config.outer_positions) + ceil_log2(bytes_of)
        return first + (word << shift)

    def _ask(self, m: Module) -> None:
        """Rows in the order in which they are wanted."""
        c = self.config
        beat_bits, word_bits = ceil_log2(c.beat // 8), ceil_log2(c.attention)
        beats = word_bits - beat_bits  # of a word, as an exponent
        exponents, codes = Signal(35), Signal(35)
        keyed, valued = Signal.like(self.keyed), Signal.like(self.valued)
        parts, part = Signal.like(self.parts), Signal.like(self.parts)
        count = Signal(len(self.own) + 1)
        begin, row = Signal(35), self.row.payload
        whole = (count + (c.attention - 1)) >> word_bits
        m.d.comb += row.address.eq(begin >> beat_bits)
        with m.FSM():
            with m.State("IDLE"), m.If(self.ask):
                m.d.sync += [
                    exponents.eq(self._context()),
                    keyed.eq(self.keyed),
                    valued.eq(self.valued),
                    parts.eq(self.parts),
                    count.eq(self.own + 1),
                ]
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [
                    codes.eq(exponents + c.cache_words * c.outer_positions),
                    begin.eq(self._at(exponents, keyed, 1)),
                    part.eq(0),
                ]
                m.next = "EXPONENTS"
            with m.State("EXPONENTS"):
                m.d.comb += [self.row.valid.eq(1), row.beats.eq(whole << beats)]
                with m.If(self.row.ready):
                    m.d.sync += [begin.eq(self._at(exponents, valued, 1)), part.eq(1)]
                    with m.If(part == 1):
                        m.d.sync += begin.eq(self._at(codes, keyed, c.attention))
                        m.next = "KEYS"
            with m.State("KEYS"):
                m.d.comb += [self.row.valid.eq(1), row.beats.eq((count * parts) << beats)]
                with m.If(self.row.ready):
                    m.d.sync += [begin.eq(self._at(codes, valued, c.attention)), part.eq(1)]
                    m.next = "VALUES"
            with m.State("VALUES"):
                m.d.comb += [self.row.valid.eq(1), row.beats.eq(count << beats)]
                with m.If(self.row.ready):
                    m.d.sync += [
                        begin.eq(begin + c.attention * c.outer_positions),
                        part.eq(part + 1),
                    ]
                    with m.If(part == parts):
                        m.next = "IDLE"

    def _exponents(self, m: Module, word: stream.Interface) -> Value:
        """Exponents into RAMs, and out of them with each issue; high when codes follow."""
        c = self.config
        word_bits = ceil_log2(c.attention)
        depth = max(2, c.outer_positions // c.attention)
        filling, number = Signal(2), Signal(range(depth + 1))
        last = (self.own >> word_bits) == number
        with m.If(self.ask):
            m.d.sync += [filling.eq(1), number.eq(0)]
        with m.Elif((filling != 0) & word.valid):
            m.d.comb += word.ready.eq(1)
            m.d.sync += number.eq(number + 1)
            with m.If(last):
                m.d.sync += [number.eq(0), filling.eq(Mux(filling == 1, 2, 0))]
        byte = delayed(m, self.position[:word_bits], 1, "byte")
        for k, (name, out) in enumerate(
            (("keys", self.key_exponent), ("values", self.value_exponent)), start=1
        ):
            m.submodules[name] = store = memory.Memory(
                shape=len(word.payload), depth=depth, init=[]
            )
            put, get = store.write_port(), store.read_port()
            m.d.comb += [
                put.en.eq((filling == k) & word.valid),
                put.addr.eq(number),
                put.data.eq(word.payload),
                get.addr.eq(self.position >> word_bits),
                out.eq(
                    delayed(m, get.data.word_select(byte, CODE_BITS), LATENCY - 1, f"{name}_read")
                ),
            ]
        return filling == 0

    def _store(self, m: Module) -> None:
        """Words of a head, when all are there, and its exponent into its word."""
        c = self.config
        bits, words = CODE_BITS * c.attention, c.attention // WORD
        m.submodules.held = held = memory.Memory(shape=bits, depth=max(2, parts_of(c)), init=[])
        put, get = held.write_port(), held.read_port()
        part, number = Signal(range(parts_of(c) + 1)), Signal(range(words))
        exponent, own = Signal.like(self.stored_exponent), Signal.like(self.own)
        exponents, begin = Signal(35), Signal(35)  # bytes
        step = Signal(35)  # to the next part
        request = self.access.payload
        final = self.store & (self.stored_part == self.parts - 1)
        m.d.comb += [
            put.en.eq(self.store),
            put.addr.eq(self.stored_part),
            put.data.eq(self.stored_codes),
            get.addr.eq(part),
        ]
        with m.FSM() as machine:
            with m.State("IDLE"):
                m.d.sync += [part.eq(0), number.eq(0)]
                with m.If(final):
                    m.d.sync += [
                        exponents.eq(self._at(self._context(), self.stored_word, 1)),
                        begin.eq(
                            self._at(
                                self._context() + c.cache_words * c.outer_positions,
                                self.stored_word,
                                c.attention,
                            )
                        ),
                        exponent.eq(self.stored_exponent),
                        own.eq(self.own),
                    ]
                    m.next = "PLACE"
            with m.State("PLACE"):
                between = Mux(self.values, own, own * self.parts)
                m.d.sync += [
                    begin.eq(begin + (between << ceil_log2(c.attention))),
                    step.eq(Mux(self.values, c.attention * c.outer_positions, c.attention)),
                    exponents.eq(exponents + own),
                ]
                m.next = "READ"
            with m.State("READ"):
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [
                    self.access.valid.eq(1),
                    request.write.eq(1),
                    request.address.eq((begin >> 2) + number),
                    request.data.eq(get.data.word_select(number, 8 * WORD)),
                ]
                with m.If(self.access.ready):
                    m.d.sync += number.eq(number + 1)
                    with m.If(number == words - 1):
                        m.d.sync += [number.eq(0), part.eq(part + 1), begin.eq(begin + step)]
                        m.next = "READ"
                        with m.If(part == self.parts - 1):
                            m.next = "LOOK"
            old = Signal(8 * WORD)
            with m.State("LOOK"):
                m.d.comb += [self.access.valid.eq(1), request.address.eq(exponents >> 2)]
                with m.If(self.access.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(self.answer.valid):
                    changed = [
                        Mux(exponents[:2] == k, exponent, self.answer.payload.word_select(k, 8))
                        for k in range(WORD)
                    ]
                    m.d.sync += old.eq(Cat(*changed))
                    m.next = "CHANGE"
            with m.State("CHANGE"):
                m.d.comb += [
                    self.access.valid.eq(1),
                    request.write.eq(1),
                    request.address.eq(exponents >> 2),
                    request.data.eq(old),
                ]
                with m.If(self.access.ready):
                    m.next = "IDLE"
        m.d.comb += self.answer.ready.eq(1)  # also of who was given up: the memory is free then
        working = ~machine.ongoing("IDLE")
        m.d.comb += [self.claim.eq(working), self.settled.eq(~(self.store | working))]
