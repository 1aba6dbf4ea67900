"""The cache of a chip as its link shows it, in block RAM or in an external memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Region
from setun.firmware.image.memory_layout import Space
from setun.firmware.link.client import ChipClient
from setun.firmware.numerics.attention import Heads

Codes = NDArray[np.int8]
Fields = NDArray[np.int64]


def cached(
    client: ChipClient,
    config: ChipConfig,
    region: Region,
    head: int,
    count: int,
    context: int,
    *,
    values: bool,
) -> Heads:
    """`count` positions of a region of the cache, in heads `head` wide, as the chip holds them.

    Parameters
    ----------
    values
        Whether values lie there, or keys.

    Returns
    -------
    Heads
        Codes [count, heads, head] and exponents [count, heads].
    """
    parts = head // config.attention
    read = _outer_head if config.outer_cache else _block_head
    starts = range(region.start // config.attention, region.end // config.attention, parts)
    found = [read(client, config, _Head(k, parts, count, context, values)) for k in starts]
    codes = np.stack([codes for codes, _ in found], axis=1).astype(np.float64)
    fields = np.stack([fields for _, fields in found], axis=1)
    return Heads(codes, fields - config.vector.bias - 6)


@dataclass(frozen=True)
class _Head:
    """Which head: its first word and its words, positions, context; whether of values."""

    first: int
    parts: int
    count: int
    context: int
    values: bool


def _block_head(client: ChipClient, c: ChipConfig, h: _Head) -> tuple[Codes, Fields]:
    stride, room = 1 << c.attention.bit_length(), 1 << (c.positions - 1).bit_length()
    rows = []
    for word in range(h.first, h.first + h.parts):
        start = (word * c.contexts + h.context) * room
        words = client.read(Space.CACHE, start * stride, h.count * stride)
        rows.append(words.reshape(h.count, stride)[:, : c.attention + 1])
    codes = [row[:, :-1].astype(np.uint8).view(np.int8) for row in rows]
    return np.concatenate(codes, axis=1), rows[0][:, -1].astype(np.int64)


def _outer_head(client: ChipClient, c: ChipConfig, h: _Head) -> tuple[Codes, Fields]:
    room = c.outer_positions
    exponents = c.cache_base + h.context * c.outer_bytes
    begin = exponents + c.cache_words * room + h.first * room * c.attention

    def read(byte: int, size: int) -> NDArray[np.uint8]:
        words = client.read(Space.WEIGHTS, byte // 4, -(-size // 4)).astype("<u4")
        return words.view(np.uint8)[:size]

    fields = read(exponents + h.first * room, h.count).astype(np.int64)
    if not h.values:
        codes = read(begin, h.count * h.parts * c.attention).view(np.int8)
        return codes.reshape(h.count, -1), fields
    size = c.attention * room
    words = [read(begin + k * size, h.count * c.attention).view(np.int8) for k in range(h.parts)]
    return np.concatenate([word.reshape(h.count, -1) for word in words], axis=1), fields
