"""CRC-32 of a concatenation from the CRCs of its parts."""

_POLYNOMIAL = 0xEDB88320


def crc32_combine(first: int, second: int, length: int) -> int:
    """zlib.crc32(a + b) from `first` = crc32(a), `second` = crc32(b), `length` = len(b).

    Appending a zero byte is a linear map of the register over GF(2); squaring it gives 2, 4, 8 …
    bytes (Mark Adler's method, zlib `crc32_combine`).
    """
    operator = [_POLYNOMIAL] + [1 << bit for bit in range(31)]
    for _ in range(3):
        operator = _square(operator)
    while length:
        if length & 1:
            first = _times(operator, first)
        operator = _square(operator)
        length >>= 1
    return first ^ second


def _times(operator: list[int], vector: int) -> int:
    out = 0
    for row in operator:
        if not vector:
            break
        if vector & 1:
            out ^= row
        vector >>= 1
    return out


def _square(operator: list[int]) -> list[int]:
    return [_times(operator, row) for row in operator]
