"""`python -m setun.sim.studies.memory [--text FILE] [--tokens N] [--plot FILE]`: the state's error.

The recurrence h <- (1-u)*h + u*a alone, against float64 with the same gates. Gates are the shipped
model's, on the last tenth of a text, or else on what the model itself writes; or they are made to
be hard: memories of 64 to 4,096 tokens, where rounding to nearest no longer sees what u changes.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.drawing import pyplot, save
from setun.firmware.errors import SetunError
from setun.firmware.image.image import aligned
from setun.firmware.numerics import noise
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.formats import Format, Values
from setun.firmware.numerics.lmul import lmul
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.firmware.numerics.sampling import Sampler
from setun.programs import figure, parser, run, step, table
from setun.sim.golden import GoldenModel
from setun.sim.studies.demo import Demo, Ids, shipped

TOKENS = 4096
SHOWN = (16, 64, 256, 1024, 4096)
"""Ends of the blocks of positions in the table."""
MEMORIES = (64, 256, 1024, 4096)
"""Memories of the hard cases, 1/u tokens; each runs for four of them."""
CHANNELS = 128

STATES: dict[str, Numerics] = {
    "(8,9), state 9, nearest": Numerics(),
    "(8,9), state 9, stochastic": Numerics(state_rounding="stochastic"),
    "(8,9), state 7, nearest": Numerics(state_mantissa=7),
    "(8,9), state 7, stochastic": Numerics(state_rounding="stochastic", state_mantissa=7),
    "(8,9), state 16, nearest": Numerics(state_mantissa=16),
    "(8,7), state 7, nearest": Numerics(vector=Format(8, 7)),
    "(8,7), state 7, stochastic": Numerics(vector=Format(8, 7), state_rounding="stochastic"),
    "(6,9), state 9, nearest": Numerics(vector=Format(6, 9)),
    "(6,9), state 9, stochastic": Numerics(vector=Format(6, 9), state_rounding="stochastic"),
    "(6,9), state 7, nearest": Numerics(vector=Format(6, 9), state_mantissa=7),
    "(6,9), state 7, stochastic": Numerics(
        vector=Format(6, 9), state_rounding="stochastic", state_mantissa=7
    ),
}


class NaiveLMul(Arithmetic):
    """L-Mul with f*h always formed from f, as a product like any other."""

    def remember(self, u: Values, h: Values, a: Values, noise: NDArray[np.int64] | None) -> Values:
        """State (1-u)*h + u*a, rounded to nearest."""
        assert noise is None
        wide = self.numerics.wide
        kept = wide.round(1.0 - u)
        forgotten = wide.round(lmul(kept, h, wide.mantissa, self.numerics.segments))
        return self.numerics.state.round(wide.round(forgotten + self.mul(u, a)))


@dataclass(frozen=True)
class Gates:
    """What the recurrence is fed with: u in (0, 1) and a, [tokens, layers, channels]."""

    u: Values
    a: Values

    def rounded(self, fmt: Format) -> "Gates":
        """The gates in another format; the study is not about their own rounding."""
        return Gates(fmt.round(self.u), fmt.round(self.a))


class _Recorder(Arithmetic):
    def __init__(self, numerics: Numerics) -> None:
        super().__init__(numerics)
        self.seen: list[tuple[Values, Values]] = []

    def remember(self, u: Values, h: Values, a: Values, noise: Any) -> Values:
        self.seen.append((u, a))
        return super().remember(u, h, a, noise)


def record(demo: Demo, numerics: Numerics, tokens: int, ids: Ids | None) -> Gates:
    """Gates of the model on the first of `ids`, or on `tokens` that it writes at temperature 1.

    Raises
    ------
    SetunError
        There are fewer ids than tokens, or no token is asked for.
    """
    if tokens < 1 or (ids is not None and len(ids) < tokens):
        has = "any number" if ids is None else len(ids)
        raise SetunError("tokens", f"must be at least 1 and at most the text's ({has})", tokens)
    model = GoldenModel(demo.image, numerics)
    model.arithmetic = recorder = _Recorder(numerics)
    sample, token = Sampler(numerics, 1.0, seed=1), 0
    for k in range(tokens):
        model.feed(token if ids is None else int(ids[k]))
        if ids is None:
            token = sample(model.logits())
    shape = tokens, len(demo.image.memory.state), -1
    u, a = (np.array([pair[k] for pair in recorder.seen]).reshape(shape) for k in (0, 1))
    return Gates(u, a)


def replay(
    arithmetic: Arithmetic, gates: Gates, start: Values | float = 0.0, layers: int | None = None
) -> Values:
    """States [tokens, layers, channels] after each token, with the noise of the golden model.

    `layers`: layers with noise of their own, the model's unless given; others take the first's.
    """
    numerics, shape = arithmetic.numerics, gates.u.shape[1:]
    width = aligned(shape[1])
    firsts = [k * width for k in range(shape[0] if layers is None else layers)]
    h = np.broadcast_to(np.asarray(start, np.float64), shape)
    states, generator = np.empty(gates.u.shape), noise.first_state(numerics.state_seed)
    for t in range(len(states)):
        generator = noise.next_state(generator)
        random = None
        if numerics.stochastic:
            random = np.stack([noise.state_noise(generator, k, shape[1]) for k in firsts])
        states[t] = h = arithmetic.remember(gates.u[t], h, gates.a[t], random)
    return states


def exact(gates: Gates, start: Values | float = 0.0) -> Values:
    """`replay` in float64."""
    h = np.broadcast_to(np.asarray(start, np.float64), gates.u.shape[1:])
    states = np.empty(gates.u.shape)
    for t in range(len(states)):
        states[t] = h = (1.0 - gates.u[t]) * h + gates.u[t] * gates.a[t]
    return states


def errors(got: Values, want: Values, edges: Sequence[int]) -> list[float]:
    """Error over state by block of positions, root mean squares: each layer's, then over layers."""
    found = []
    for first, last in itertools.pairwise(edges):
        wrong = ((got - want)[first:last] ** 2).mean((0, 2))
        found.append(float(np.sqrt(np.mean(wrong / (want[first:last] ** 2).mean((0, 2))))))
    return found


def blocks(tokens: int) -> list[int]:
    """Edges of blocks of positions, each twice as long as the one before."""
    return [
        0,
        *itertools.takewhile(lambda edge: edge < tokens, (8 << k for k in range(60))),
        tokens,
    ]


def state_errors(gates: Gates, edges: Sequence[int]) -> dict[str, list[float]]:
    """`errors` of every one of STATES on recorded gates."""
    found = {}
    for name, numerics in STATES.items():
        step(f"real gates: {name}")
        mine = gates.rounded(numerics.vector)
        found[name] = errors(replay(Arithmetic(numerics), mine), exact(mine), edges)
    return found


def product_errors(gates: Gates, edges: Sequence[int]) -> dict[str, list[float]]:
    """`errors` of L-Mul with both forms of f*h, with one offset (the paper's) and with more."""
    want = exact(gates)
    forms = {"L-Mul, f*h from the smaller of f and 1-f": Arithmetic, "L-Mul, f*h from f": NaiveLMul}
    offsets = {"": PRESETS["lmul-paper"], ", with segments": PRESETS["lmul"]}
    return {
        name + more: errors(replay(form(numerics), gates), want, edges)
        for name, form in forms.items()
        for more, numerics in offsets.items()
    }


@dataclass(frozen=True)
class Hard:
    """What becomes of a state after four memories."""

    kept: float
    """Mean of h/h0 with no input; e^-4 = 0.018 in exact arithmetic."""
    reached: float
    """Mean of h/a with a constant input a and h0 = 0; 1 - e^-4 = 0.982 in exact arithmetic."""
    noise: float
    """Error over state, root mean squares over the last memory, with normally distributed input."""


def hard(numerics: Numerics | None, memory: int) -> Hard:
    """The three cases with u = 1/`memory`, a power of two; None computes in float64."""
    tokens, rng = 4 * memory, np.random.default_rng(3)
    fmt = (numerics or Numerics()).vector
    a = np.zeros((tokens, 3, CHANNELS))
    a[:, 1] = rng.uniform(1.0, 2.0, CHANNELS)
    a[:, 2] = rng.standard_normal((tokens, CHANNELS))
    start = np.zeros((3, CHANNELS))
    start[0] = fmt.round(rng.uniform(1.0, 2.0, CHANNELS))
    gates = Gates(np.full(a.shape, 1.0 / memory), fmt.round(a))
    want = exact(gates, start)
    got = want if numerics is None else replay(Arithmetic(numerics), gates, start, layers=1)
    return Hard(
        float(np.mean(got[-1, 0] / start[0])),
        float(np.mean(got[-1, 1] / gates.a[-1, 1])),
        errors(got[:, 2:], want[:, 2:], (tokens - memory, tokens))[0],
    )


def hard_cases(states: dict[str, Numerics]) -> dict[str, list[Hard]]:
    """`hard` of every state and memory, after a line of float64."""
    found = {"float64": [hard(None, memory) for memory in MEMORIES]}
    for name, numerics in states.items():
        step(f"hard cases: {name}")
        found[name] = [hard(numerics, memory) for memory in MEMORIES]
    return found


def plot(
    file: Path,
    edges: Sequence[int],
    real: dict[str, list[float]],
    products: dict[str, list[float]],
    cases: dict[str, list[Hard]],
) -> None:
    """Draw errors over the positions of a text, of roundings and of products, and hard cases."""

    def lines(axis: Any, x: Sequence[int], curves: dict[str, list[float]]) -> None:
        for name, curve in curves.items():
            style = "s:" if "stochastic" in name else "o-"
            axis.loglog(x, curve, style, markersize=4, label=name.removeprefix("(8,9), "))
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
        axis.set_ylabel("error / state, RMS")

    drawing, axes = pyplot().subplots(1, 3, figsize=(13, 4))
    lines(axes[0], edges[1:], {k: v for k, v in real.items() if k.startswith("(8,9)")})
    axes[0].set(xlabel="token", title="demo model, all layers", ylim=(1e-4, 1e-2))
    lines(axes[1], edges[1:], products)
    axes[1].set(xlabel="token", title="demo model, all layers", ylim=(1e-2, 1e4))
    noisy = {k: [case.noise for case in v] for k, v in cases.items() if k.startswith("(8,9)")}
    lines(axes[2], MEMORIES, noisy)
    axes[2].set(xlabel="memory 1/u, tokens", title="random input")
    axes[2].set_xticks(MEMORIES, [str(memory) for memory in MEMORIES])
    axes[2].minorticks_off()
    save(drawing, file)


def main() -> None:
    """Print the tables; draw them."""
    options = parser(__doc__, plot=True)
    options.add_argument("--text", type=Path, metavar="FILE", help="its last tenth is read")
    options.add_argument("--tokens", type=int, default=TOKENS, metavar="N")
    arguments = options.parse_args()
    demo, edges = shipped(), blocks(arguments.tokens)
    step(f"gates of {arguments.tokens} tokens")
    ids = None if arguments.text is None else demo.held_out(arguments.text)
    gates = record(demo, Numerics(), arguments.tokens, ids)
    real, products = state_errors(gates, edges), product_errors(gates, edges)
    shown = [k for k, edge in enumerate(edges[1:]) if edge in SHOWN or edge == edges[-1]]
    columns = [f"{edges[k] + 1:,}–{edges[k + 1]:,}" for k in shown]
    rows = [[name, *(figure(curve[k]) for k in shown)] for name, curve in (real | products).items()]
    print(table(["error by tokens", *columns], rows))
    slow = gates.u.mean((0, 2))
    print(f"\nMean of u by layer: {', '.join(figure(float(u)) for u in slow)}.\n")
    cases = hard_cases(STATES)
    rows = [
        [name, *(f"{c.kept:.3f} / {c.reached:.3f} / {figure(c.noise)}" for c in found)]
        for name, found in cases.items()
    ]
    print(table(["kept / reached / error", *(f"1/u = {memory:,}" for memory in MEMORIES)], rows))
    if arguments.plot:
        plot(arguments.plot, edges, real, products, cases)


if __name__ == "__main__":
    run(main)
