"""The front against its definition, and which of its points are taken."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setun.explore.pareto import front, spread

SMALL = st.integers(0, 4).map(float)


def by_definition(costs: list[tuple[float, ...]]) -> set[int]:
    def better(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and any(
            x < y for x, y in zip(a, b, strict=True)
        )

    return {k for k, c in enumerate(costs) if not any(better(other, c) for other in costs)}


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[SMALL] * n), max_size=25)))
def test_front(costs: list[tuple[float, ...]]) -> None:
    """Few values, so that many are alike."""
    found = front(costs)
    assert len(found) == len(set(found)) and set(found) == by_definition(costs)
    assert [costs[k] for k in found] == sorted(costs[k] for k in found)


def test_front_of_many() -> None:
    rng = random.Random(3)
    print("seed 3")
    costs = [(rng.random(), rng.random(), rng.random()) for _ in range(600)]
    assert set(front(costs)) == by_definition(costs)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12).map(sorted), st.integers(1, 14))
def test_spread(values: list[float], count: int) -> None:
    found = spread(values, count)
    assert found == sorted(set(found)) and len(found) == min(count, len(values))
    assert values[found[-1]] == values[-1]
    if count > 1:
        assert values[found[0]] == values[0]


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [5]), (2, [0, 5]), (3, [0, 3, 5]), (9, [0, 1, 2, 3, 4, 5])]
)
def test_spread_takes_the_ends_and_what_lies_evenly_between(
    count: int, expected: list[int]
) -> None:
    assert spread([0.0, 0.1, 0.2, 4.8, 9.0, 10.0], count) == expected
