"""What a chip is made of: the one configuration that gateware, layout and estimates share."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from setun.firmware import attention_options
from setun.firmware.core_kinds import CoreKind
from setun.firmware.errors import SetunError, nearest
from setun.firmware.link.baud import divisor_for
from setun.firmware.link.messages import TOKEN_BYTES
from setun.firmware.memory_kinds import KINDS, SECTOR, MemoryKind
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics

PACKINGS = ("2b", "1.6b")
FLASH = 1 << 24  # bytes that a flash's addresses reach
SLOTS = 4  # QUANTISEs whose codes wait between the quantiser and the array
CONTEXTS = (1, 2, 4)
MOST_BYTES = 1 << 34  # of an external memory: the link counts 32-bit words in 32 bits
GRAIN = 64  # bytes: the widest beat
PAGE = 4096  # bytes that a burst of any memory stays within
# Squares of as many, below 17 * 2**28 each with L-Mul, add up to 47 bits; and (1,6,9) holds sums of
# up to 32,768 codes, however chunks are rounded.
MOST_COLUMNS = 30_720


@dataclass(frozen=True, kw_only=True)
class ChipConfig:
    """Parameters of one chip; validated on construction.

    Parameters
    ----------
    columns
        P, activations the ternary array takes per cycle; a power of two, a multiple of `lanes`.
    rows
        Q, matrix rows it computes at once; a power of two, a multiple of `lanes`.
    pump
        2: a row of the FPGA computes two rows of the matrix, one after the other, on a clock of
        twice the speed.
    lanes
        V, elements the vector units handle per cycle; a power of two up to 32.
    packing
        Weights in memory: "2b", or "1.6b" (five trits a byte).
    memory
        Where the weights lie: "onchip" (block RAM), "sdram-16" or "sdram-32" (one SDR SDRAM with
        so many data pins), "sdram-16x2" (the same at twice the chip's clock), "axi4-64" to
        "axi4-512" (a bus of so many bits), "qspi" (quad SPI flash), "spram" (single-port RAM of an
        iCE40 UltraPlus), "spram-16" (the same RAM, which then holds the constants too: a small
        chip, see `setun.hw.small`).
    part
        The SDRAM's or flash's name; "" for the usual one.
    flash_base
        Byte of the flash where the weights begin, behind the FPGA's own image: whole sectors.
    numerics
        Arithmetic: formats and algorithms. Its options stand beside the others in files.
    weight_words, instructions
        Words (columns x rows weights each) of weight memory, and depth of program memory, on the
        chip. A chip that streams its model has neither.
    constant_pairs
        Pairs (outer gain, gain) of constant memory; embedding rows take half a pair an element. Of
        a chip that streams its model, what it holds of the gains.
    memory_bytes, gate_elements
        Of a chip that streams its model: bytes of the external memory that a model may take, and
        what it holds of the gates.
    contexts
        Conversations that the chip holds, and tokens that one pass over the model carries: 1, 2
        or 4.
    vector_elements, state_elements
        Sizes of vector memory and of the recurrent state, for each token and each context.
    max_columns
        Longest vector that can be quantised.
    five_trits
        1: matrices may have five-trit weights, see `setun.firmware.numerics.five_trits`.
    attention
        C, codes of keys or values that the unit of attention takes per cycle; a power of two, a
        multiple of `lanes`; 0 for a chip without one.
    queries
        G, heads of queries for which it takes them at once.
    positions
        Tokens that a conversation may have.
    head_norms
        1: the unit of attention norms heads of queries and keys too.
    outer_cache
        1: keys and values lie in the external memory, behind the model.
    cache_elements
        Elements of keys and values that are kept of each position.
    head_elements
        Longest head.
    token_bits
        Of a token: 16, or 18 for vocabularies of more than 65,536, which no terminal goes with.
    terminal
        1: a character-level model talks to any terminal program, see `setun.hw.link.terminal`.
    mailbox
        1: the host is a processor beside the chip, which reaches it over AXI4-Lite instead of the
        UART, see `setun.firmware.link.mailbox`; `baud` then means nothing.
    clock_hz, baud
        Clock of the core and bit rate of the UART; see `setun.firmware.link.baud.divisor_for`.
    """

    columns: int = 32
    rows: int = 8
    pump: int = 1
    lanes: int = 8
    packing: str = "2b"
    memory: str = "onchip"
    part: str = ""
    flash_base: int = 2 << 20
    numerics: Numerics = field(default_factory=Numerics)
    weight_words: int = 5120
    constant_pairs: int = 12288
    instructions: int = 128
    memory_bytes: int = 1 << 17
    gate_elements: int = 1024
    contexts: int = 1
    vector_elements: int = 512
    state_elements: int = 768
    max_columns: int = 512
    five_trits: int = 0
    attention: int = 0
    queries: int = 1
    positions: int = 256
    head_norms: int = 0
    outer_cache: int = 0
    cache_elements: int = 512
    head_elements: int = 64
    token_bits: int = 16
    terminal: int = 1
    mailbox: int = 0
    clock_hz: int = 50_000_000
    baud: int = 1_000_000

    def __post_init__(self) -> None:
        if self.memory not in KINDS:
            raise SetunError("memory", f"must be one of {', '.join(KINDS)}", self.memory)
        self.core.check(self)
        if self.lanes > 32:
            raise SetunError("lanes", "must be at most 32", self.lanes)
        for name in ("columns", "rows"):
            if getattr(self, name) % self.lanes:
                raise SetunError(
                    name, f"must be a multiple of the {self.lanes} lanes", getattr(self, name)
                )
        if self.columns > 64 or self.rows > 64:
            raise SetunError("array", "must be at most 64 columns by 64 rows", self.macs)
        if self.pump not in (1, 2):
            raise SetunError("pump", "must be 1 or 2", self.pump)
        if self.rows % self.pump:
            raise SetunError("rows", f"must be a multiple of the pump's {self.pump}", self.rows)
        if self.contexts not in CONTEXTS:
            raise SetunError("contexts", "must be 1, 2 or 4", self.contexts)
        if self.terminal not in (0, 1):
            raise SetunError("terminal", "must be 0 or 1", self.terminal)
        if self.mailbox not in (0, 1):
            raise SetunError("mailbox", "must be 0 or 1", self.mailbox)
        if self.mailbox and self.terminal:
            rule = "must be 0 with a mailbox, which no terminal program reaches"
            raise SetunError("terminal", rule, self.terminal, "--set terminal=0")
        if self.five_trits not in (0, 1):
            raise SetunError("five_trits", "must be 0 or 1", self.five_trits)
        if self.five_trits and self.rows * self.vector.width > self.weight_bits:
            rule = f"need columns enough for {self.rows} scales in {self.weight_bits} bits"
            raise SetunError("five_trits", rule, self.columns, "--set columns=16")
        if self.token_bits not in TOKEN_BYTES:
            raise SetunError("token_bits", "must be 16 or 18", self.token_bits)
        if self.token_bits != 16 and self.terminal:
            rule = f"must be 0 with tokens of {self.token_bits} bits"
            raise SetunError("terminal", rule, self.terminal, "--set terminal=0")
        if self.packing not in PACKINGS:
            raise SetunError("packing", f"must be one of {', '.join(PACKINGS)}", self.packing)
        if self.part and not self.memory_kind.parts:
            rule = "names an SDRAM or a flash"
            raise SetunError("part", rule, self.part, f"memory is {self.memory}")
        if not (self.part.isascii() and self.part.isprintable() and len(self.part) <= 16):
            raise SetunError("part", "must be up to 16 printable characters", self.part[:40])
        for name in (
            "weight_words",
            "constant_pairs",
            "instructions",
            "gate_elements",
            "vector_elements",
            "state_elements",
            "max_columns",
        ):
            if not 1 <= getattr(self, name) <= 1 << 24:
                raise SetunError(name, "must be from 1 to 16777216", getattr(self, name))
        if not GRAIN <= self.memory_bytes <= MOST_BYTES or self.memory_bytes % GRAIN:
            rule = f"must be a multiple of {GRAIN} up to {MOST_BYTES}"
            raise SetunError("memory_bytes", rule, self.memory_bytes)
        if self.max_columns > MOST_COLUMNS:
            rule = f"must be at most {MOST_COLUMNS}: sums of squares have 47 bits"
            raise SetunError("max_columns", rule, self.max_columns)
        if not 0 <= self.flash_base < FLASH or self.flash_base % SECTOR:
            rule = f"must be a multiple of {SECTOR} bytes below {FLASH}"
            raise SetunError("flash_base", rule, self.flash_base)
        chunk = self.numerics.accumulate
        if chunk and chunk < self.columns:
            raise SetunError(
                "accumulate",
                f"must be at least the {self.columns} columns summed at once",
                chunk,
                f"--set columns={chunk} --set lanes=1",
            )
        attention_options.check(self)
        divisor_for(self.clock_hz, self.baud)

    @property
    def memory_kind(self) -> MemoryKind:
        """Where the weights lie, and all that follows from it."""
        return KINDS[self.memory]

    @property
    def core(self) -> CoreKind:
        """The core that reads them."""
        return self.memory_kind.core.equipped(attends=self.attention > 0, norms=self.head_norms > 0)

    @property
    def vector(self) -> Format:
        """Number format of everything outside the array."""
        return self.numerics.vector

    @property
    def macs(self) -> int:
        """Ternary multiply-accumulates per cycle."""
        return self.columns * self.rows

    @property
    def weight_bits(self) -> int:
        """Bits of one weight word: `pump` parts, in whole bytes if five weights share one."""
        count = self.macs // self.pump
        return self.pump * (2 * count if self.packing == "2b" else 8 * -(-count // 5))

    @property
    def external(self) -> bool:
        """Whether the weights lie outside block RAM; words are then packed byte by byte."""
        return self.memory_kind.external

    @property
    def streams(self) -> bool:
        """Whether the whole model lies in the external memory, and is read once a token."""
        return self.external and self.core.streams

    @property
    def shares_weights(self) -> bool:
        """Whether the tokens of a pass share each weight word, or each reads the weights again."""
        return self.memory_kind.shares_weights

    @property
    def sum_width(self) -> int:
        """Bits of the array's sums, sign included."""
        return self.numerics.code_bits + (self.max_columns - 1).bit_length()

    @property
    def vector_words(self) -> int:
        """Memory words (`lanes` elements) of a token's vectors."""
        return -(-self.vector_elements // self.lanes)

    @property
    def state_words(self) -> int:
        """Memory words (`lanes` elements) of a context's recurrent state."""
        return -(-self.state_elements // self.lanes)

    @property
    def cache_words(self) -> int:
        """Cache words (`attention` codes) of each position; 0 without attention."""
        return -(-self.cache_elements // self.attention) if self.attention else 0

    @property
    def cache_depth(self) -> int:
        """Words of the cache: each of a position, for every position of every context."""
        return self.cache_words * self.contexts << (self.positions - 1).bit_length()

    @property
    def outer_positions(self) -> int:
        """Positions that rows of a cache in the external memory have room for."""
        return 1 << (max(self.positions, self.attention) - 1).bit_length()

    @property
    def outer_bytes(self) -> int:
        """Bytes of a context there: exponents, then codes, of each word and position."""
        return self.cache_words * self.outer_positions * (1 + self.attention)

    @property
    def cache_base(self) -> int:
        """Byte of the external memory at which the first context's cache begins."""
        return -(-self.memory_bytes // PAGE) * PAGE

    @property
    def external_bytes(self) -> int:
        """Bytes of the external memory that the chip uses: the model's, and its caches'."""
        if not (self.attention and self.outer_cache):
            return self.memory_bytes
        return -(-(self.cache_base + self.contexts * self.outer_bytes) // PAGE) * PAGE

    @property
    def state_stride(self) -> int:
        """Elements from one context's recurrent state to the next one's: a power of two."""
        return self.lanes << (self.state_words - 1).bit_length()

    @property
    def beat(self) -> int:
        """Bits that memory delivers at a time."""
        return self.memory_kind.beat or self.weight_bits

    @property
    def fast(self) -> int:
        """How many times the chip's clock the domain `fast` runs at; 1 if there is none."""
        return max(self.pump, self.memory_kind.gear)

    @property
    def weight_port(self) -> int:
        """Bits of weights that memory delivers per cycle at best."""
        return self.beat // self.memory_kind.beat_cycles

    @property
    def weight_bytes(self) -> int:
        """Bytes of `weight_words` side by side, in whole beats and 32-bit words."""
        unit = max(self.beat, 32)
        return -(-self.weight_words * self.weight_bits // unit) * unit // 8

    @property
    def token_bytes(self) -> int:
        """Bytes of a token in the link's frames."""
        return TOKEN_BYTES[self.token_bits]

    @property
    def divisor(self) -> int:
        """Clock cycles per UART bit."""
        return divisor_for(self.clock_hz, self.baud)

    @property
    def panel(self) -> int:
        """Row groups that the array takes through a block of columns before the next block."""
        return self.core.panel(self)

    @property
    def slot_words(self) -> int:
        """Array words (`columns` codes) of one activation slot."""
        return -(-self.max_columns // self.columns)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready contents, with the options of `Numerics` beside the others.

        Sizes of memories that the chip has not are left out.
        """
        lacking: tuple[str, ...] = _STREAMING
        if self.streams:
            lacking = "weight_words", "instructions"
        if not self.attention:
            lacking += (*attention_options.NAMES, "head_norms")
        own = {name: getattr(self, name) for name in _OWN if name not in lacking}
        return own | self.numerics.to_dict()

    def to_toml(self) -> str:
        """The configuration as a TOML file that `from_dict` reads back."""
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.to_dict().items())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ChipConfig":
        """Configuration from `to_dict`'s output or a TOML file's contents."""
        known = {*_OWN, *Numerics.__dataclass_fields__}
        for name in values:
            if name not in known:
                hint = nearest(name, known) or f"known: {', '.join(sorted(known))}"
                raise SetunError(f"option {name}", "is not one of the chip's", "", hint)
        own, numerics = {}, {}
        for name, value in values.items():
            if name in Numerics.__dataclass_fields__:
                numerics[name] = value
                continue
            if name in ("packing", "memory", "part"):
                if not isinstance(value, str):
                    raise SetunError(f"option {name}", "must be text", value)
            elif type(value) is not int:
                raise SetunError(f"option {name}", "must be a whole number", value)
            own[name] = value
        return cls(**own, numerics=Numerics.from_dict(numerics, "option"))

    def override(self, **changes: Any) -> "ChipConfig":
        """A copy with some options changed, validated again."""
        return replace(self, **changes)

    @property
    def digest(self) -> bytes:
        """Eight bytes that tell one configuration from another; the chip reports them."""
        options = self.to_dict()
        if not self.terminal:
            del options["terminal"]  # as chips were before there was one
        if self.token_bits == 16:
            del options["token_bits"]  # likewise
        for name in ("five_trits", "head_norms", "mailbox"):
            if not options.get(name):
                options.pop(name, None)
        text = json.dumps(options, sort_keys=True)
        return hashlib.sha256(text.encode()).digest()[:8]


_STREAMING = ("memory_bytes", "gate_elements")
_OWN = [name for name in ChipConfig.__dataclass_fields__ if name != "numerics"]
