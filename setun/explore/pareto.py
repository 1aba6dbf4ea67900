"""The Pareto front: what no other point is as good as in everything and better in something."""

from collections.abc import Sequence

Costs = tuple[float, ...]


def dominates(a: Costs, b: Costs) -> bool:
    """Whether `a` is nowhere worse than `b` and somewhere better; smaller is better."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def front(costs: Sequence[Costs]) -> list[int]:
    """Indices of the points that none dominates, cheapest in the first cost first.

    Points alike in everything are all in it. In ascending order a point can be dominated by an
    earlier one only, and if by any, then by one of the front.
    """
    found: list[int] = []
    for k in sorted(range(len(costs)), key=lambda k: (costs[k], k)):
        if not any(dominates(costs[j], costs[k]) for j in found):
            found.append(k)
    return found


def spread(values: Sequence[float], count: int) -> list[int]:
    """Indices of up to `count` of ascending values: the last, the first, others evenly between.

    A single one is the last. Each place goes to the nearest value that is left, the ends first.
    """
    if count >= len(values):
        return list(range(len(values)))
    low, high = values[0], values[-1]
    between = [low + (high - low) * k / (count - 1) for k in range(1, count - 1)]
    left, found = list(range(len(values))), []
    for place in [high, low, *between][:count]:
        nearest = min(left, key=lambda j: (abs(values[j] - place), -j))
        left.remove(nearest)
        found.append(nearest)
    return sorted(found)
