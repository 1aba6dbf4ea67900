"""`python -m setun.sim.studies.transformers FOLDER... [--tokens N]`: the chip's arithmetic's price.

Three tables over `bitnet` checkpoints, a column each, of 4 x N random tokens: RoPE and attention
alone, a float head's weights and input, the whole golden model. Divergence from the float
reference in nat a token, and how often the likeliest token is the same. The checkpoints of
tests/data/bitnet, which have random weights, give the figures of docs/numerics.md.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.models.checkpoint import Checkpoint, load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics import rotary
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.attention import BYTE, Attention, Heads
from setun.firmware.numerics.options import PRESETS, Numerics
from setun.programs import line, parser, run, step, table
from setun.sim.evaluate import golden_logits
from setun.sim.reference.bitnet import FloatModel
from setun.sim.reference.layers import absmax

SEQUENCES, TOKENS, SEED = 4, 96, 5
PLAIN, LMUL, PAPER = (PRESETS[name] for name in ("default", "lmul", "lmul-paper"))
TOPS = (121, 364, 40)
"""Largest level of five, six and four trits."""

Numbers = NDArray[Any]


class OnChip(FloatModel):
    """The float reference with the chip's RoPE, its attention, or both; all else as it is.

    Parameters
    ----------
    rope, attention
        Numerics of each; None leaves it in float.
    code_bits
        Of queries, keys and values.
    absmax
        Their codes in units of each head's maximum / 127, rounded as vectors are, not of a power
        of two; attention itself is in float then.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        rope: Numerics | None = PLAIN,
        attention: Numerics | None = PLAIN,
        code_bits: int = BYTE,
        absmax: bool = False,
    ) -> None:
        super().__init__(checkpoint)
        self._rope, self._attention = rope, attention
        self._code_bits, self._absmax = code_bits, absmax

    def rotated(self, x: Numbers, first: int) -> Numbers:
        """See `FloatModel.rotated`."""
        if self._rope is None:
            return super().rotated(x, first)
        compute = Arithmetic(self._rope)
        increment = rotary.increments(self.config.rope_theta, x.shape[-1])
        turn = _turned_by_lmul if self._rope == PAPER else rotary.rotated
        turned = [
            turn(compute, compute.r(x[:, t]), rotary.phases(increment, first + t))
            for t in range(x.shape[1])
        ]
        return np.stack(turned, 1)

    def attend(self, q: Numbers, k: Numbers, v: Numbers) -> tuple[Numbers, Numbers]:
        """See `FloatModel.attend`."""
        if self._attention is None:
            return super().attend(q, k, v)
        unit, out = Attention(self._attention, self._code_bits), []
        r = unit.compute.r
        if self._absmax:
            return super().attend(_in_maxima(r, q), _in_maxima(r, k), _in_maxima(r, v))
        query = r(q * np.log2(math.e) / np.sqrt(q.shape[-1]))
        keys, values = unit.coded(r(k)), unit.coded(r(v))
        for t in range(q.shape[1]):
            seen = [
                Heads(cached.codes[:, : t + 1], cached.exponent[:, : t + 1])
                for cached in (keys, values)
            ]
            out.append(unit(query[:, t], *seen))
        return np.stack(out, 1).reshape(*q.shape[:2], -1).astype(np.float32), np.zeros(0)


def _turned_by_lmul(compute: Arithmetic, x: Numbers, phase: Numbers) -> Numbers:
    """What `rotary.rotated` would be with the paper's L-Mul, which no chip takes for it."""
    c, s = rotary.cosine(compute.fmt, phase), rotary.sine(compute.fmt, phase)
    a, b = np.split(x, 2, axis=-1)
    r, by = compute.r, compute.mul
    return np.concatenate([r(by(a, c) - by(b, s)), r(by(b, c) + by(a, s))], axis=-1)


def _in_maxima(r: Callable[[Numbers], Numbers], x: Numbers) -> Numbers:
    top = np.abs(x).max(-1, keepdims=True)
    unit = r(np.where(top > 0, top, 1.0) / 127.0)
    return (np.clip(np.rint(x / unit), -127, 127) * unit).astype(np.float32)


@dataclass(frozen=True)
class Price:
    """Of logits against others, [.., tokens, vocabulary]."""

    divergence: float
    """Kullback-Leibler, nat a token."""
    same: float
    """Share of tokens after which the likeliest is the same."""

    @classmethod
    def of(cls, want: Numbers, got: Numbers) -> "Price":
        """Of `got`, the distribution `want` being right."""
        p, q = _logged(want), _logged(got)
        divergence = (np.exp(p) * (p - q)).sum(-1).mean()
        return cls(float(divergence), float((p.argmax(-1) == q.argmax(-1)).mean()))

    def __str__(self) -> str:
        digits = 5 if self.divergence < 0.001 else 4 if self.divergence < 0.1 else 3
        return f"{self.divergence:.{digits}f} ({100 * self.same:.1f} %)"


def _logged(logits: Numbers) -> Numbers:
    x = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(-1, keepdims=True)))


ATTENTION: dict[str, dict[str, Any]] = {
    "RoPE alone, (8, 9)": {"attention": None},
    "all, codes of 8 bits": {},
    "all, codes of 9 bits": {"code_bits": 9},
    "all, codes of 10 bits": {"code_bits": 10},
    "the same with absmax codes of 8 bits and (8, 9) scales": {"absmax": True},
    "paper's L-Mul for the outputs' product alone, 9 bits": {
        "rope": None,
        "attention": PAPER,
        "code_bits": 9,
    },
    "L-Mul for the outputs' product alone, 9 bits": {
        "rope": None,
        "attention": LMUL,
        "code_bits": 9,
    },
    "paper's L-Mul for RoPE's products alone": {"rope": PAPER, "attention": None},
    "L-Mul for RoPE's products alone": {"rope": LMUL, "attention": None},
    "L-Mul for both, codes of 8 bits": {"rope": LMUL, "attention": LMUL},
}


class Trial:
    """A checkpoint and random tokens for it."""

    def __init__(self, folder: Path, tokens: int = TOKENS) -> None:
        self.name = folder.name
        self.checkpoint = load_checkpoint(folder)
        rng = np.random.default_rng(SEED)
        self.ids = rng.integers(0, self.checkpoint.config.vocab_size, (SEQUENCES, tokens))
        if not isinstance(self.checkpoint.config, BitnetConfig):
            raise SetunError(str(folder), "must be a transformer", "another family")
        self.model = FloatModel(self.checkpoint)
        self.logits = self.model.forward_batch(self.ids)

    def attention(self, what: str) -> Price:
        """Of one of `ATTENTION`."""
        chip = OnChip(self.checkpoint, **ATTENTION[what])
        return Price.of(self.logits, chip.forward_batch(self.ids))

    def heads(self) -> Iterator[tuple[str, Price]]:
        """Of a float head's input as codes, and of its weights in levels too, by name."""
        seen: dict[str, Numbers] = {}
        self.model.run(self.ids, trace=seen)
        weights = self.checkpoint.tensors["lm_head.weight"].astype(np.float64)
        codes, per_unit = absmax(seen["norm"], np.rint)
        x, want = codes / per_unit, seen["norm"] @ weights.T
        yield "float, codes of its input alone", Price.of(want, x @ weights.T)
        largest = np.abs(weights).max(1, keepdims=True)
        for top in TOPS:
            for unit, size in (
                ("a row's unit its maximum / " + str(top), largest / top),
                ("a row's unit a power of two", np.exp2(np.ceil(np.log2(largest / top)))),
                ("one unit for all rows", np.full_like(largest, largest.max() / top)),
            ):
                rounded = np.rint(weights / size) * size
                yield f"{2 * top + 1} levels, {unit}", Price.of(want, x @ rounded.T)

    def golden(self, preset: str) -> Price:
        """Of the golden model with these numerics."""
        image = compile_checkpoint(self.checkpoint)
        return Price.of(self.logits, golden_logits(image, PRESETS[preset], self.ids))


def rows(trials: Sequence[Trial]) -> Iterator[tuple[str, list[Price]]]:
    """Lines of the three tables in turn, an empty name between them."""
    for what in ATTENTION:
        step(what)
        yield what, [trial.attention(what) for trial in trials]
    yield "", []
    step("heads")
    for each in zip(*(trial.heads() for trial in trials), strict=True):
        yield each[0][0], [price for _, price in each]
    yield "", []
    for preset in ("default", "lmul", "lmul-paper", "fp8"):
        step(f"golden model, {preset}")
        yield f"`{preset}`", [trial.golden(preset) for trial in trials]


def main() -> None:
    """Print the tables."""
    options = parser(__doc__)
    options.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    options.add_argument("--tokens", type=int, default=TOKENS, metavar="N")
    arguments = options.parse_args()
    trials = [Trial(folder, arguments.tokens) for folder in arguments.folders]
    head = table(["", *(trial.name.partition("_")[0] for trial in trials)], ())
    print(head)
    for name, prices in rows(trials):
        print(line([name, *prices]) if name else f"\n{head}", flush=True)


if __name__ == "__main__":
    run(main)
