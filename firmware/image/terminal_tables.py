"""What a chip's terminal knows of its model: bytes to tokens and back, and how it answers.

A word holds a byte in its low eight bits; bit 8 says that there is one.

=========== ==================================================================
words       hold
=========== ==================================================================
0 … 255     the token of that byte
256 … 511   the byte of that token
512 … 519   the tokens that end a text, two bytes each; a core that knows fewer has the last ones
520 … 530   behind them on the wire, the rest of the GENERATE that answers a line
=========== ==================================================================

A chip whose words are all 0 has no model that a terminal could talk to.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from setun.firmware.core_kinds import CORES
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.models.tokenizer import Tokenizer
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.functions import seed_state

TOKENS, BYTES, ENDS = 0, 256, 512  # where each part begins
PRESENT = 0x100
REQUEST = struct.Struct("<HBII")  # count, greedy, 1/T in the vector format, seed
TOKEN = struct.Struct("<H")
MAX_ENDS = max(core.ends for core in CORES.values())
SETTINGS = ENDS + MAX_ENDS * TOKEN.size
WORDS = SETTINGS + REQUEST.size
NO_TOKEN = 0xFFFF  # of no model that a terminal can talk to
ASCII = 128
# At 0.8 the demo model writes whole scenes and seldom misspells; 240 characters are some six lines.
COUNT, TEMPERATURE, SEED = 240, 0.8, 1


def alphabet(image: Image) -> dict[int, int] | None:
    """Token of each byte, of a model whose every token is one ASCII character; else None.

    Ids that the tokenizer has no token for do not count: vocabularies are padded.
    """
    size = image.vocab_size
    if image.tokenizer_json is None or size > 256:
        return None
    tokenizer = Tokenizer.from_json(image.tokenizer_json, size)
    found: dict[int, int] = {}
    for token in range(size):
        text = tokenizer.decode([token])
        if len(text) > 1 or text >= chr(ASCII):
            return None
        if text:
            found[ord(text)] = token
    for byte, token in found.items():
        try:
            same = tokenizer.encode(chr(byte), begins=False) == [token]
        except SetunError:
            return None
        if not same:
            return None
    return found


def settings(
    fmt: Format, *, count: int = COUNT, temperature: float = TEMPERATURE, seed: int = SEED
) -> bytes:
    """What follows the tokens in the GENERATE of an answer; temperature 0 is greedy."""
    inverse = int(fmt.to_bits(1.0 / temperature)[0]) if temperature else 0
    return REQUEST.pack(count, not temperature, inverse, seed_state(seed))


def text_words(image: Image, fmt: Format, request: bytes | None = None) -> NDArray[np.uint32]:
    """The terminal's words for `image`, uint32 [WORDS]; zeros where it is no model of characters.

    Parameters
    ----------
    image
        The model with its tokenizer.
    fmt
        The chip's vector format.
    request
        From `settings`; the usual ones if None.
    """
    words = np.zeros(WORDS, np.uint32)
    known = alphabet(image)
    if known is None:
        return words
    for byte, token in known.items():
        words[TOKENS + byte] = PRESENT | token
        words[BYTES + token] = PRESENT | byte
    payload = settings(fmt) if request is None else request
    ends = [*image.end_tokens, *MAX_ENDS * [NO_TOKEN]][:MAX_ENDS]
    words[ENDS:] = np.frombuffer(b"".join(map(TOKEN.pack, ends[::-1])) + payload, np.uint8)
    return words
