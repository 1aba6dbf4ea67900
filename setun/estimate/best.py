"""The chip that makes most tokens a second of a model on a board, found with the estimate."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from math import log
from typing import Any

from setun.boards import Board
from setun.estimate.chip import Estimate, estimate, memory_fits
from setun.estimate.cores import core_estimate
from setun.estimate.room import check_room, memories
from setun.firmware.config import CONTEXTS, PACKINGS, ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.array_words import group_words
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.program.isa import Op
from setun.hw.memory.kinds import LATENCY

# Share of the LUTs that a chosen chip may take: the estimate has been wrong by a third of the rest.
FILLED = 0.9
ALIKE = 1.03  # tokens a second this near are not told apart: the smaller chip is better
WORSE = 1.1  # guesses further off are not followed
TRIED = 12  # chips whose pass is gone through
EXPOSED = 35  # cycles that a vector waits for itself, about
SPACE: dict[str, tuple[Any, ...]] = {
    "lanes": (1, 2, 4, 8, 16),
    "columns": (8, 16, 32, 64),
    "rows": (1, 2, 4, 8, 16, 32),
    "contexts": CONTEXTS,
    "packing": PACKINGS,
    "pump": (1, 2),
}


class Guess:
    """Cycles per token of a chip at first sight: what its busiest part takes, and the waits."""

    def __init__(self, image: Image) -> None:
        self.shapes = Counter((m.rows, m.columns, m.planes) for m in image.matrices)
        rows = sum(i.n for i in image.program if i.op is Op.MATVEC)
        self.elements = max(rows, sum(i.n for i in image.program if i.op is Op.QUANTISE))
        self.streamed = Counter(i.n for i in image.program if i.stream)

    def cycles(self, c: ChipConfig) -> float:
        """Tokens of all streams together."""
        seats = c.contexts
        words = sum(
            n * -(-r // c.rows) * group_words(k, planes, c)
            for (r, k, planes), n in self.shapes.items()
        )
        memory = words * c.weight_bits / c.weight_port * (1 if c.external else seats)
        busy = max(words * seats, memory, self.elements / c.lanes * seats)
        # Weights go on coming into the queue; seats that share them wait for all codes.
        queued = LATENCY if c.external else 0
        waits = 0.0
        for n, count in self.streamed.items():
            codes = seats * n if c.shares_weights else c.columns
            waits += count * max(0.0, EXPOSED + codes / c.lanes - queued)
        return (busy + waits) / seats


def chips(
    base: ChipConfig,
    board: Board,
    space: Mapping[str, Sequence[Any]],
    fixed: Collection[str],
    **others: Any,
) -> Iterator[tuple[dict[str, Any], ChipConfig | SetunError]]:
    """Every chip with options of `space`, by these, or why there is none.

    What `space` and `others` do not have is as in `base`, but for the memory's part: the board's,
    if it is not `fixed`.
    """
    for values in product(*space.values()):
        chosen = dict(zip(space, values, strict=True))
        options = {**others, **chosen}
        if "part" not in fixed:
            options["part"] = board.part(chosen.get("memory", base.memory))
        try:
            yield chosen, base.override(**options)
        except SetunError as error:
            yield chosen, error


def free_space(base: ChipConfig, board: Board, fixed: Collection[str]) -> dict[str, Sequence[Any]]:
    """Options that a search goes through, but for those that are `fixed`.

    There are none where the core is one netlist.
    """
    if not core_estimate(base).searched:
        return {}
    space = {**SPACE, "memory": tuple(memories(base, board, ()))}
    return {name: values for name, values in space.items() if name not in fixed}


def shortage(config: ChipConfig, board: Board) -> str:
    """What of `board` a chip is short of that a search may choose; "" if of nothing."""
    if not memory_fits(config):
        return f"{config.memory} is too small for the weights"
    core = core_estimate(config)
    for kind, count in core.cells(config, board.fpga).items():
        most, called = board.capacity[kind], board.fpga.called(kind)
        if count > most:
            return f"{called} beyond {most:,}"
        if kind == "luts" and core.searched and count > FILLED * most:
            return f"{called} beyond {FILLED:.0%} of {most:,}"
    return ""


def best(image: Image, base: ChipConfig, board: Board, fixed: set[str]) -> Estimate:
    """The chip of most tokens a second that fits `board`; the options `fixed` stay as in `base`.

    Chips are ordered by a guess of their cycles. Those that fit and are guessed as fast as the
    fastest of them are gone through, smaller ones first, and the smallest of the fastest is it.
    The clock is the same for all.

    Raises
    ------
    SetunError
        None fits.
    """
    usable = check_room(image, base, board, fixed, choose=True)
    space = free_space(base, board, fixed)
    if "memory" in space:
        space["memory"] = usable
    if not core_estimate(base).searched:
        only = estimate(image, base, board)
        if only.fits:
            return only
        raise SetunError(
            f"model on {board.name}",
            "must fit the one chip that the board has room for",
            "",
            "a smaller model, or a larger board",
        )
    if base.attention and "attention" not in fixed:
        base = base.override(attention=0, outer_cache=0)  # each chip gets a unit of its own
    guess = Guess(image)
    found: list[tuple[float, int, ChipConfig]] = []
    limit = float("inf")
    least: tuple[int, ChipConfig] | None = None
    refused: SetunError | None = None
    tried = chips(base, board, space, fixed)
    guessed = [(guess.cycles(c), c) for _, c in tried if isinstance(c, ChipConfig)]
    for cycles, config in sorted(guessed, key=lambda each: each[0]):
        if cycles > limit:
            break
        try:
            sized = sized_for(image, config)
        except SetunError as error:  # heads do not divide into its words
            refused = error
            continue
        luts = core_estimate(sized).cells(sized, board.fpga)["luts"]
        if not shortage(sized, board):
            limit = min(limit, cycles * WORSE)
            found.append((cycles, luts, sized))
        elif least is None or luts < least[0]:
            least = luts, sized
    if refused is not None and not (found or least):
        raise refused
    if not found:
        smallest = estimate(image, least[1], board).short if least else {}
        short = (f"{board.fpga.called(k)} {n:,} of {m:,}" for k, (n, m) in smallest.items())
        raise SetunError(
            f"model on {board.name}",
            "must fit some chip (needed of available)",
            f"the smallest tried: {', '.join(short)}",
            "a smaller model: setun boards tells what fits",
        )
    step, lowest = log(ALIKE), found[0][0]
    found.sort(key=lambda each: (int(log(each[0] / lowest) / step), each[1]))
    estimates = [estimate(image, config, board) for *_, config in found[:TRIED]]
    fastest = min(each.cycles_per_token for each in estimates)
    alike = [each for each in estimates if each.cycles_per_token <= fastest * ALIKE]
    return min(alike, key=lambda each: each.needed["luts"])


def faster(found: Estimate, image: Image, board: Board) -> Estimate | None:
    """The best chip where it makes clearly more tokens a second than the one `found`, else None."""
    try:
        other = best(image, found.config, board, set())
    except SetunError:
        return None
    return other if other.cycles_per_token * ALIKE < found.cycles_per_token else None


def settings(config: ChipConfig, board: Board) -> list[str]:
    """`--set` options that make `config` of the board's chip; `setun build` takes them."""
    chosen = config.to_dict()
    plain = {**ChipConfig().to_dict(), **board.usual({"memory": config.memory})}
    names = [*SPACE, "memory", "part"]
    changed = [name for name in names if chosen[name] != plain[name]]
    return [word for name in changed for word in ("--set", f"{name}={chosen[name]}")]
