"""Routing that goes in circles, in logs as nextpnr writes them."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from setun.hw.fpga.flow.routing import FEW, PATIENCE, circling


def log(conflicts: Sequence[int]) -> str:
    rounds = (
        f"Info:     iter={n} wires=9000 overused={left} overuse={left + 3} archfail=NA\n"
        for n, left in enumerate(conflicts, 1)
    )
    return "Info: Running router2...\n" + "".join(rounds)


def test_conflicts_that_grow_again_end_it() -> None:
    falling = [48160, 4672, 1600, 553]
    growing = [560 + 40 * k for k in range(12)]
    error = circling(log([*falling, *growing]))
    assert error is not None and error.rule == "must route"
    assert error.value == "920 wires wanted twice in round 14, 553 in round 4"
    assert circling(log([*falling, *growing[: PATIENCE - 1]])) is None


def test_few_conflicts_may_take_as_long_as_they_like() -> None:
    assert circling(log([48160, 900, FEW, *[2 * FEW] * 50, 9, 17, 0])) is None


def test_no_rounds_no_answer() -> None:
    assert circling("") is None
    assert circling("Info: iter= overused=\nERROR: iter=5 overused=900\n") is None


@given(st.lists(st.integers(0, 10**6), max_size=60))
def test_falling_conflicts_never_end_it(conflicts: list[int]) -> None:
    assert circling(log(sorted(conflicts, reverse=True))) is None


@given(st.lists(st.integers(0, 10**4), max_size=60), st.integers(0, 60))
def test_what_has_ended_it_stays(conflicts: list[int], more: int) -> None:
    """The answer is that of the first rounds that give one, whenever the log is read."""
    early = circling(log(conflicts[:more]))
    late = circling(log(conflicts))
    assert early is None or (late is not None and str(early) == str(late))
