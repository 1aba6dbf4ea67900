"""Streams that are timed together are together, however late the host begins the last one."""

import pytest

from setun.bench import measure as measuring
from setun.firmware.errors import SetunError


class Late:
    """A bench whose host is held up: the others are `ahead` tokens when the last stream ends."""

    def __init__(self, ahead: int) -> None:
        self.ahead, self.margins = ahead, []

    def counters(self) -> dict[str, int]:
        return {}

    def together(self, streams: int, tokens: int, margin: int) -> tuple[float, int]:
        self.margins.append(margin)
        return 100.0, min(self.ahead, margin)


def test_a_margin_that_was_too_small_grows() -> None:
    bench = Late(200)
    assert measuring.streams_together(bench, 2, 16, 32)[0] == 100.0
    assert bench.margins == [32, 128, 512]
    with pytest.raises(SetunError, match="2 streams: must be under way together for 16 tokens"):
        measuring.streams_together(Late(1 << 20), 2, 16, 32)


def test_one_stream_is_alone() -> None:
    bench = Late(7)
    measuring.streams_together(bench, 1, 16, 0)
    assert bench.margins == [0]
