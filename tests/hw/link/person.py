"""What a terminal program shows when a person types at a chip with `ToyModel` in it."""

import random

from hw.link.toy import PLACES, ToyModel
from setun.firmware.image.terminal_tables import (
    BYTES,
    ENDS,
    MAX_ENDS,
    NO_TOKEN,
    PRESENT,
    REQUEST,
    SETTINGS,
    TOKEN,
    TOKENS,
    WORDS,
)
from setun.hw.link.terminal import LONGEST

BELL, ERASE = b"\a", b"\b \b"
NEWLINES = (b"\r", b"\n", b"\r\n")


def text_words(count: int, seed: int, *, whole: bool = False, newline: bool = True) -> list[int]:
    """Tables of a made-up alphabet: a permutation of bytes, some of them absent unless `whole`.

    0x00 is no byte of any alphabet. The toy's tokens have 16 bits, of which the low eight count.
    """
    rng = random.Random(seed)
    words = [0] * WORDS
    order = rng.sample(range(256), 256)
    for byte, token in enumerate(order):
        typed = newline if byte == 10 else 32 <= byte < 127 and rng.random() < 0.9
        if typed:
            words[TOKENS + byte] = PRESENT | token
        if typed or whole:
            words[BYTES + token] = PRESENT | (byte if typed or byte not in (0, 10) else 0x7E)
    words[SETTINGS:] = REQUEST.pack(count, 0, rng.randrange(1 << 18), rng.randrange(1 << 32))
    unending = count == 0xFFFF
    ends = [NO_TOKEN if unending else rng.randrange(NO_TOKEN) for _ in range(MAX_ENDS)]
    words[ENDS:SETTINGS] = b"".join(map(TOKEN.pack, ends))
    return words


class Screen:
    """The terminal's behaviour, told once more: keys in, characters out.

    `unbounded` answers are left to the caller, who knows when they were stopped.
    """

    def __init__(self, words: list[int], toy: ToyModel) -> None:
        self.words, self.toy = words, toy
        self.line: list[int] = []
        self.fresh, self.behind_cr, self.answers = True, False, 0

    def shown(self, token: int) -> bytes:
        word = self.words[BYTES + (token & 0xFF)]
        byte = bytes((word & 0xFF,)) if word & PRESENT else b""
        return b"\r\n" if byte == b"\n" else byte

    def request(self) -> tuple[int, bool, int, int, list[int]]:
        payload = bytearray(word & 0xFF for word in self.words[SETTINGS:])
        known = bytes(word & 0xFF for word in self.words[SETTINGS - PLACES * TOKEN.size : SETTINGS])
        payload[-1] ^= self.answers & 0xFF
        count, greedy, inverse, seed = REQUEST.unpack(bytes(payload))
        return count, bool(greedy), inverse, seed, [end for (end,) in TOKEN.iter_unpack(known)]

    def answer(self, count: int | None = None) -> bytes:
        """The text of `count` tokens, as many as the settings say by default."""
        usual, *rest = self.request()
        tokens = self.toy.generate(usual if count is None else count, *rest)
        self.answers += 1
        return b"".join(map(self.shown, tokens)) + b"\r\n"

    def key(self, byte: int, *, answered: bool = True) -> bytes:
        """What a key shows, the answer to a line included unless not `answered`."""
        swallowed, self.behind_cr = self.behind_cr and byte == 10, byte == 13
        if swallowed:
            return b""
        if byte in (10, 13):
            if not self.line:
                self.fresh = True
                return b"\r\n"
            word = self.words[TOKENS + 10]
            prompt = self.line + ([word & 0xFF] if word & PRESENT else [])
            if self.fresh:
                self.toy.state = 0
            self.toy.prompt(prompt)
            self.line, self.fresh = [], False
            return b"\r\n" + (self.answer() if answered else b"")
        if byte in (8, 127):
            if self.line:
                self.line.pop()
                return ERASE
            return BELL
        word = self.words[TOKENS + byte]
        if word & PRESENT and len(self.line) < LONGEST:
            self.line.append(word & 0xFF)
            return bytes((byte,))
        return BELL
