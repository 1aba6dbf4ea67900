"""A chip's memories over the link: written, read, summed."""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.link.crc import crc32_combine
from setun.firmware.link.messages import MAX_WORDS, SPACES, Command
from setun.firmware.link.requests import Requests, sized
from setun.firmware.link.transport import FRAMES_HELD

WRITE_WINDOW = 16
READ_WINDOW = 4
CRC_WORDS = 0x4000
SUMMED_WORDS = 2048
"""Of one CRC behind their WRITEs: the chip is done with them before its frame memory is full."""

Progress = Callable[[int, int], None]


class ChipMemory(Requests):
    """The commands that name a memory space."""

    def write(
        self,
        space: int,
        address: int,
        words: NDArray[np.uint32] | Sequence[int],
        progress: Progress | None = None,
        *,
        sector: int = 0,
        summed: bool = False,
    ) -> list[tuple[int, int]]:
        """Store 32-bit words at `address` (in words) and up; `progress(done, total)` in words.

        Parameters
        ----------
        sector
            Words of a flash that are erased when the first of them is written, 0 in RAM. That
            frame is alone under way: sent again behind others it would erase their words.
        summed
            Ask for the CRC of every 2,048 words behind them. The chip reads them back while the
            line brings the next ones, so this takes 18 bytes of the line and little else.

        Returns
        -------
        list
            Address and number of words whose CRC was another: they are wrong, or were lost on the
            line and sent again behind their CRC. `crc` tells which.
        """
        data = _words(words)
        total = len(data)
        _check_range(space, address, total)
        runs = [(range(0, total, MAX_WORDS), WRITE_WINDOW)]
        if sector:
            if address % sector:
                raise SetunError("flash", f"is written from a multiple of {sector} words", address)
            runs = []
            for start in range(0, total, sector):
                frames = range(start, min(start + sector, total), MAX_WORDS)
                runs += [(frames[:1], 1), (frames[1:], FRAMES_HELD)]

        def requests(
            starts: range, asked: list[tuple[Command, int, int]], begin: int
        ) -> Iterator[tuple[Command, bytes]]:
            for start in starts:
                end = min(start + MAX_WORDS, total)
                asked.append((Command.WRITE, start, end))
                head = struct.pack("<BI", space, address + start)
                yield Command.WRITE, head + data[start:end].tobytes()
                if summed and (end - begin >= SUMMED_WORDS or end == total):
                    asked.append((Command.CRC, begin, end))
                    yield Command.CRC, struct.pack("<BII", space, address + begin, end - begin)
                    begin = end

        done = checked = 0
        doubtful = []
        for starts, window in runs:
            asked: list[tuple[Command, int, int]] = []
            for index, answer in self._pipeline(requests(starts, asked, checked), window):
                command, start, end = asked[index]
                if command == Command.WRITE:
                    done += end - start
                    if progress:
                        progress(done, total)
                elif _sum(answer) != zlib.crc32(data[start:end].data.cast("B")):
                    doubtful.append((address + start, end - start))
            checked = max([checked, *(end for command, _, end in asked if command == Command.CRC)])
        return doubtful

    def read(self, space: int, address: int, count: int) -> NDArray[np.uint32]:
        """`count` 32-bit words from `address` (in words) and up."""
        _check_range(space, address, count)
        sizes = [min(MAX_WORDS, count - start) for start in range(0, count, MAX_WORDS)]

        def requests() -> Iterator[tuple[Command, bytes]]:
            for index, size in enumerate(sizes):
                yield Command.READ, struct.pack("<BIB", space, address + index * MAX_WORDS, size)

        out = np.zeros(count, dtype="<u4")
        for index, data in self._pipeline(requests(), READ_WINDOW):
            start = index * MAX_WORDS
            out[start : start + sizes[index]] = np.frombuffer(
                sized(Command.READ, data, 4 * sizes[index]), dtype="<u4"
            )
        return out.astype(np.uint32)

    def crc(self, space: int, address: int, count: int) -> int:
        """zlib.crc32 of `count` words (little endian bytes) as the chip reads them back."""
        _check_range(space, address, count)
        value = 0
        for start in range(0, count, CRC_WORDS):
            size = min(CRC_WORDS, count - start)
            data = self._command(Command.CRC, struct.pack("<BII", space, address + start, size))
            value = crc32_combine(value, _sum(data), 4 * size)
        return value


def _sum(data: bytes) -> int:
    """CRC that a CRC's reply has."""
    return int.from_bytes(sized(Command.CRC, data, 4), "little")


def _words(words: NDArray[np.uint32] | Sequence[int]) -> NDArray[np.uint32]:
    try:
        array = np.asarray(words)
        if array.size and (array.dtype.kind not in "iu" or array.min() < 0):
            raise OverflowError
        data = array.reshape(-1).astype("<u4", casting="unsafe")
        if (data != array.reshape(-1)).any():
            raise OverflowError
    except (OverflowError, ValueError, TypeError):
        raise SetunError("write", "integers from 0 to 2**32 - 1") from None
    return data


def _check_range(space: int, address: int, count: int) -> None:
    if not 0 <= space < SPACES:
        raise SetunError("memory space", f"from 0 to {SPACES - 1}", space)
    if address < 0 or count < 0 or address + count > 1 << 32:
        raise SetunError("memory range", "within 32-bit word addresses", f"{address} + {count}")
