"""Ternary weights: absmean quantisation and the two packings the hardware reads.

Both packings run along the last axis, element 0 in the least significant bits, and pad
the last byte of a row with zero codes.

2 bit
    Four codes to the byte. Bit 0 of a field is "nonzero", bit 1 is "negative":
    0 → 00, +1 → 01, -1 → 11. Field 10 is refused.
1.6 bit
    Five trits to the byte in the trit block of ASTC's integer sequence encoding (Khronos
    Data Format Specification, "Integer Sequence Encoding"), trit 0 → 0, 1 → +1, 2 → -1.
    Unlike base 3 it decodes with a handful of gates: mostly two-bit fields passed through.
"""

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError

Codes = NDArray[np.int8]
Bytes = NDArray[np.uint8]

SCALE_FLOOR = np.float32(1e-5)
"""Smallest absmean, as upstream clamps it: an all-zero matrix gets codes 0."""

CODES_PER_BYTE_2B = 4
TRITS_PER_BYTE = 5


def absmean(w: NDArray[np.float32]) -> tuple[Codes, np.float32]:
    """Ternarise a weight matrix as BitNet b1.58 and upstream's ``weight_quant`` do.

    Parameters
    ----------
    w
        Weights, float32, any shape, one scale for all of it.

    Returns
    -------
    codes
        int8 in {-1, 0, 1}, shape of `w`: ``round_half_even(w * (1/m))`` clipped.
    scale
        The multiplier ``m = max(mean(|w|), 1e-5)``, float32: ``w ≈ codes * scale``.
        (Upstream's own ``s`` is its reciprocal.)
    """
    # Summed in float64 because a float32 sum depends on the order, hence on the SIMD width.
    m = max(np.float32(np.mean(np.abs(w), dtype=np.float64)), SCALE_FLOOR)
    codes = np.clip(np.rint(w * (np.float32(1) / m)), -1, 1).astype(np.int8)
    return codes, np.float32(m)


def pack_2b(codes: Codes) -> Bytes:
    """Pack codes [..., n] four to the byte: uint8 [..., ceil(n/4)]."""
    groups = _grouped(codes, CODES_PER_BYTE_2B)
    fields = (np.abs(groups) + 2 * (groups < 0)).astype(np.uint8)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8)
    return np.bitwise_or.reduce(fields << shifts, axis=-1)


def unpack_2b(packed: Bytes, n: int) -> Codes:
    """Inverse of `pack_2b`: the first `n` codes of each row, int8 [..., n].

    Raises
    ------
    SetunError
        A field is 10, a row has another length than `n` needs, or its padding is not zero.
    """
    _check_length(packed, n, CODES_PER_BYTE_2B)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8)
    fields = (packed[..., None] >> shifts) & 3
    if (fields == 2).any():
        raise SetunError("2-bit weights", "fields are 00, 01 or 11", "10", "the data is corrupt")
    codes = np.array([0, 1, 0, -1], dtype=np.int8)[fields]
    return _without_padding(codes, n)


def _trit_decode_table() -> Bytes:
    """All 256 bytes through the published rules; row T holds trits t0..t4."""
    byte = np.arange(256)

    def field(value: NDArray[np.int_], high: int, low: int) -> NDArray[np.int_]:
        return (value >> low) & ((1 << (high - low + 1)) - 1)

    both_two = field(byte, 4, 2) == 7
    c = np.where(both_two, field(byte, 7, 5) << 2 | field(byte, 1, 0), field(byte, 4, 0))
    t4_two = field(byte, 6, 5) == 3
    t4 = np.where(both_two | t4_two, 2, field(byte, 7, 7))
    t3 = np.where(both_two, 2, np.where(t4_two, field(byte, 7, 7), field(byte, 6, 5)))

    low_full, mid_full = field(c, 1, 0) == 3, field(c, 3, 2) == 3
    c0, c1, c2, c3, c4 = (field(c, k, k) for k in range(5))
    t2 = np.where(low_full | mid_full, 2, c4)
    t1 = np.where(low_full, c4, np.where(mid_full, 2, field(c, 3, 2)))
    t0 = np.where(
        low_full,
        c3 << 1 | (c2 & ~c3 & 1),
        np.where(mid_full, field(c, 1, 0), c1 << 1 | (c0 & ~c1 & 1)),
    )
    return np.stack([t0, t1, t2, t3, t4], axis=1).astype(np.uint8)


TRIT_DECODE: Bytes = _trit_decode_table()
"""uint8 [256, 5]: trits (0..2) of every byte; 13 of the 256 bytes repeat another's."""


def _trit_encode_table() -> Bytes:
    table = np.zeros((3,) * 5, dtype=np.uint8)
    for byte in range(255, -1, -1):  # the smallest byte is written last and stays
        table[tuple(TRIT_DECODE[byte])] = byte
    return table


TRIT_ENCODE: Bytes = _trit_encode_table()
"""uint8 [3, 3, 3, 3, 3], indexed [t0, t1, t2, t3, t4]: the smallest byte that decodes so."""


def pack_trits(codes: Codes) -> Bytes:
    """Pack codes [..., n] five to the byte: uint8 [..., ceil(n/5)]."""
    t0, t1, t2, t3, t4 = np.moveaxis(_grouped(codes, TRITS_PER_BYTE) % 3, -1, 0)
    return TRIT_ENCODE[t0, t1, t2, t3, t4]


def unpack_trits(packed: Bytes, n: int) -> Codes:
    """Inverse of `pack_trits`: the first `n` codes of each row, int8 [..., n].

    Raises
    ------
    SetunError
        A row has another length than `n` needs, or its padding is not zero.
    """
    _check_length(packed, n, TRITS_PER_BYTE)
    codes = np.array([0, 1, -1], dtype=np.int8)[TRIT_DECODE[packed]]
    return _without_padding(codes, n)


def _grouped(codes: Codes, group: int) -> Codes:
    if codes.dtype != np.int8 or (codes.size and (codes.min() < -1 or codes.max() > 1)):
        raise SetunError("ternary codes", "are int8 -1, 0 or 1", f"{codes.dtype} beyond that")
    *rows, n = codes.shape
    padded = np.pad(codes, [(0, 0)] * len(rows) + [(0, -n % group)])
    return padded.reshape(*rows, -(-n // group), group)


def _check_length(packed: Bytes, n: int, group: int) -> None:
    if packed.shape[-1] != -(-n // group):
        raise SetunError(
            "packed weights", f"{n} codes take {-(-n // group)} bytes", f"{packed.shape[-1]}"
        )


def _without_padding(groups: Codes, n: int) -> Codes:
    *rows, count, group = groups.shape
    codes = groups.reshape(*rows, count * group)
    if codes[..., n:].any():
        raise SetunError("packed weights", "padding codes are zero", fix="the data is corrupt")
    return codes[..., :n]
