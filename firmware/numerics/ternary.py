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

from collections.abc import Callable
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError

T = TypeVar("T", bound=np.generic)
Codes = NDArray[np.int8]
Bytes = NDArray[np.uint8]

SCALE_FLOOR = np.float32(1e-5)
"""Smallest absmean, as upstream clamps it: an all-zero matrix gets codes 0."""

CODES_PER_BYTE_2B = 4
TRITS_PER_BYTE = 5
BLOCK = 1 << 20
"""Weights that are worked on at a time, in whole rows: they fit a processor's last cache."""
NEAR = 1 << 16
"""Weights that take several passes: they fit a core's own cache."""


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

    One number that stands for a matrix (`numpy.broadcast_to`) gives codes that are one code.
    """
    m = absmean_scale(w)
    if w.size > 1 and not any(w.strides):
        one = codes_of(w[(0,) * w.ndim].reshape(1), m, np.empty(1, np.int8))
        return np.broadcast_to(one, w.shape), m
    codes = np.empty(w.shape, np.int8)
    rows, out = _in_rows(w), _in_rows(codes)
    step = rows_at_once(rows.shape[1], NEAR)
    for k in range(0, len(rows), step):
        codes_of(rows[k : k + step], m, out[k : k + step])
    return codes, m


def absmean_scale(w: NDArray[np.float32]) -> np.float32:
    """The scale of `absmean`."""
    if w.size > 1 and not any(w.strides):
        return absmean_scale(w[(0,) * w.ndim].reshape(1))
    rows = _in_rows(w)
    step = rows_at_once(rows.shape[1])
    parts = (rows[k : k + step] for k in range(0, len(rows), step))
    # Summed in float64 because a float32 sum depends on the order, hence on the SIMD width.
    total = sum(float(np.sum(np.abs(part), dtype=np.float64)) for part in parts)
    return np.float32(max(np.float32(total / w.size), SCALE_FLOOR))


def _in_rows(values: NDArray[T]) -> NDArray[T]:
    return values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)


def codes_of(w: NDArray[np.float32], scale: np.float32, out: Codes) -> Codes:
    """Codes of weights [..] by `absmean`'s rule and its scale, into `out` int8 [..]."""
    least = _least(scale)
    positive, negative = w >= least, w <= -least
    return np.subtract(positive.view(np.int8), negative.view(np.int8), out=out)


def _least(scale: np.float32) -> np.float32:
    """The smallest weight whose code is 1: times 1/m in float32 it is more than 0.5.

    Products grow with the weight, so one comparison is what rounding and clipping come to.
    """
    inverse, half = np.float32(1) / scale, np.float32(0.5)
    least = np.float32(0.5 / float(inverse))
    while least * inverse > half:
        least = np.nextafter(least, np.float32(0))
    while least * inverse <= half:
        least = np.nextafter(least, np.float32(np.inf))
    return least


def ternarise(w: NDArray[np.float32]) -> tuple[Codes, np.float32]:
    """Codes and scale as `absmean`, or those of weights [m, n] that are 0, +s and -s already.

    Of the latter absmean makes the right codes and, with the zeros in the mean, a wrong scale.
    """
    if not any(w.strides):
        return absmean(w)
    step = rows_at_once(w.shape[1])
    parts = [w[k : k + step] for k in range(0, len(w), step)]
    s = np.abs(parts[0]).max()
    if s == 0 or not all(np.isin(np.abs(part), (0, s)).all() for part in parts):
        return absmean(w)
    return np.sign(w).astype(np.int8), np.float32(s)


def rows_at_once(columns: int, weights: int | None = None) -> int:
    """Rows of `columns` weights that make up about so many, else a `BLOCK`."""
    return max(1, (weights or BLOCK) // max(1, columns))


def pack_2b(codes: Codes) -> Bytes:
    """Pack codes [..., n] four to the byte: uint8 [..., ceil(n/4)]."""
    return _bytes_2b(_grouped(codes, CODES_PER_BYTE_2B))


def _bytes_2b(groups: Codes) -> Bytes:
    # A code's two low bits are its field.
    fields = groups.view("<u4")[..., 0] & 0x03030303
    return (fields | fields >> 6 | fields >> 12 | fields >> 18).astype(np.uint8)


def unpack_2b(packed: Bytes, n: int) -> Codes:
    """Inverse of `pack_2b`: the first `n` codes of each row, int8 [..., n].

    Raises
    ------
    SetunError
        A field is 10, a row has another length than `n` needs, or its padding is not zero.
    """
    _check_length(packed, n, CODES_PER_BYTE_2B)
    if not _FIELDS_2B.take(packed).all():
        raise SetunError("2-bit weights", "fields are 00, 01 or 11", "10", "the data is corrupt")
    return _without_padding(_CODES_2B.take(packed, axis=0), n)


_FIELD_2B = np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3
_CODES_2B = np.array([0, 1, 0, -1], np.int8)[_FIELD_2B]
_FIELDS_2B = (_FIELD_2B != 2).all(1)


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
    return _bytes_trits(_grouped(codes, TRITS_PER_BYTE))


def _bytes_trits(groups: Codes) -> Bytes:
    # Small whole numbers: a float's matrix product is exact, and fast. What lies behind the arrays
    # is read too, and may raise flags that say nothing of these numbers.
    with np.errstate(all="ignore"):
        values = (groups.astype(np.float32) @ _PLACES).astype(np.int8)
    return _BYTE_OF.take(values.view(np.uint8))


def unpack_trits(packed: Bytes, n: int) -> Codes:
    """Inverse of `pack_trits`: the first `n` codes of each row, int8 [..., n].

    Raises
    ------
    SetunError
        A row has another length than `n` needs, or its padding is not zero.
    """
    _check_length(packed, n, TRITS_PER_BYTE)
    if packed.size < NEAR or packed.size % 2:
        return _without_padding(_CODES_TRITS.take(packed, axis=0), n)
    pairs = np.ascontiguousarray(packed).reshape(-1).view("<u2")
    codes = _pairs_of_trits().take(pairs, axis=0)
    return _without_padding(codes.reshape(*packed.shape, TRITS_PER_BYTE), n)


@cache
def _pairs_of_trits() -> Codes:
    """int8 [65536, 10]: codes of two bytes, the first of them the lower one."""
    pairs = np.arange(1 << 16)
    return np.hstack([_CODES_TRITS[pairs & 255], _CODES_TRITS[pairs >> 8]])


_PLACES = np.array([1, 3, 9, 27, 81], np.float32)
_CODES_TRITS = np.array([0, 1, -1], np.int8)[TRIT_DECODE]
_BYTE_OF = np.zeros(256, np.uint8)  # by the sum of code * 3**place, as an unsigned byte
_BYTE_OF[(_CODES_TRITS * _PLACES).sum(-1).astype(np.int8).view(np.uint8)] = TRIT_ENCODE[
    tuple(TRIT_DECODE.T)
]


class Packing(NamedTuple):
    """A way to pack codes into bytes."""

    pack: Callable[[Codes], Bytes]
    join: Callable[[Codes], Bytes]
    """`pack` for codes [.., bytes, codes of a byte] that are known to be codes."""
    unpack: Callable[[Bytes, int], Codes]
    codes: Codes
    """int8 [256, codes of a byte]: what each byte holds."""
    written: NDArray[np.bool_]
    """bool [256]: bytes that `pack` writes."""
    rule: str
    """What they have in common."""

    @property
    def per_byte(self) -> int:
        """Codes of a byte."""
        return self.codes.shape[1]

    def length(self, n: int) -> int:
        """Bytes that `n` codes take."""
        return -(-n // self.per_byte)


PACKING = {
    "2b": Packing(pack_2b, _bytes_2b, unpack_2b, _CODES_2B, _FIELDS_2B, "fields are 00, 01 or 11"),
    "1.6b": Packing(
        pack_trits,
        _bytes_trits,
        unpack_trits,
        _CODES_TRITS,
        TRIT_ENCODE[tuple(TRIT_DECODE.T)] == np.arange(256),
        "bytes are the least of their trits",
    ),
}
"""Every packing, by `setun.firmware.config.PACKINGS`'s name."""


def _grouped(codes: Codes, group: int) -> Codes:
    if codes.dtype != np.int8 or (codes.size and (codes.min() < -1 or codes.max() > 1)):
        raise SetunError("ternary codes", "are int8 -1, 0 or 1", f"{codes.dtype} beyond that")
    *rows, n = codes.shape
    whole = codes if n % group == 0 else np.pad(codes, [(0, 0)] * len(rows) + [(0, -n % group)])
    return np.ascontiguousarray(whole).reshape(*rows, -(-n // group), group)


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
