"""Items made in a second thread: the same ones, and errors where they happen."""

from collections.abc import Iterator

import pytest

from setun.firmware.ahead import ahead


def test_the_same_items() -> None:
    assert list(ahead([])) == []
    assert list(ahead(iter([3, None, 5]))) == [3, None, 5]


def test_one_is_made_ahead() -> None:
    made: list[int] = []
    items = ahead(made.append(k) or k for k in range(9))
    assert next(items) == 0
    assert next(items) == 1
    assert len(made) <= 3
    items.close()  # type: ignore[attr-defined]
    assert len(made) <= 3


def test_an_error_comes_in_its_place() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("second")

    items = ahead(failing())
    assert next(items) == 1
    with pytest.raises(ValueError, match="second"):
        next(items)
