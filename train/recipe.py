"""What a training run is asked for: sizes, schedule, and what of it must not change on resuming."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from setun.firmware.errors import SetunError, nearest
from setun.firmware.models.architecture import Architecture, find
from setun.firmware.models.fields import Fields
from setun.sim.texts import WINDOW

POSITIONS = "max_position_embeddings"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run; equal recipes, texts and machines give equal models.

    Parameters
    ----------
    architecture
        The model's family, by `model_type`.
    hidden, layers, intermediate
        Sizes of the model.
    tokenizer, vocabulary
        "char", "byte" or "bpe", and for "bpe" its most tokens.
    context, batch
        Tokens of a row, from a zero state, and rows of a step.
    steps
        Optimiser steps.
    rate, warmup, final
        Peak learning rate of AdamW, steps until it is reached, and the share of it that the
        cosine ends at.
    decay
        Weight decay of matrices.
    clip
        Largest norm of the whole gradient.
    dropout
        Share of the mixers' outputs left out.
    average
        Half-life, in steps, of the exponential average of the weights that is evaluated and kept;
        0 for the weights themselves. Of the first steps it is shorter.
    calibrate
        Share of the text to learn that no step sees: the logits' scale is fitted on it.
    seed
        Of initial weights, batches and dropout.
    every
        Steps between evaluations.
    numerics
        Options of the chip whose products, codes and state the forward pass has
        (`Numerics.to_dict`), or None for float32.
    init
        SHA-256 of the weights that it begins with; "" for random ones.
    fields
        Fields of config.json that are others than the family's usual ones.
    teacher
        SHA-256 of the weights of a model that it learns from; "" for the text alone.
    taught
        Share of the loss that is against the teacher's probabilities, not against the text.
    """

    architecture: str = "hgrn_bit"
    hidden: int = 128
    layers: int = 6
    intermediate: int = 384
    tokenizer: str = "char"
    vocabulary: int = 1024
    context: int = 256
    batch: int = 16
    steps: int = 5000
    rate: float = 4e-3
    warmup: int = 100
    final: float = 0.02
    decay: float = 0.1
    clip: float = 1.0
    dropout: float = 0.0
    average: float = 100.0
    calibrate: float = 0.02
    seed: int = 1
    every: int = 250
    numerics: dict[str, Any] | None = None
    init: str = ""
    fields: dict[str, Any] | None = None
    teacher: str = ""
    taught: float = 0.0

    def __post_init__(self) -> None:
        least = {
            "hidden": 8,
            "layers": 1,
            "intermediate": 8,
            "vocabulary": 257,
            "context": 2,
            "batch": 1,
            "steps": 1,
            "warmup": 0,
            "seed": 0,
            "every": 1,
        }
        for name, low in least.items():
            if not low <= getattr(self, name) < 1 << 31:
                raise SetunError(name, f"must be at least {low}", getattr(self, name))
        for name in ("rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise SetunError(name, "must be above 0", getattr(self, name))
        highest = {"final": 1.0, "decay": 10.0, "dropout": 0.9, "calibrate": 0.5, "taught": 1.0}
        for name, high in highest.items():
            if not 0 <= getattr(self, name) <= high:
                raise SetunError(name, f"must be from 0 to {high:g}", getattr(self, name))
        if not 0 <= self.average < math.inf:
            raise SetunError("average", "must not be negative", self.average)

    def set_aside(self, tokens: int) -> int:
        """How many of the tokens to learn are for `calibrate`; 0 where they would be too few."""
        aside = round(self.calibrate * tokens)
        return aside if aside > 1 and tokens - aside > self.context else 0

    def model(self, vocab_size: int) -> Any:
        """The model's configuration: it has the positions of a row, where it has positions.

        Raises
        ------
        SetunError
            One of `fields` is none of the family's, or out of range.
        """
        family, sizes = self._family, (self.hidden, self.layers, self.intermediate)
        usual = family.config_fields(family.sized(vocab_size, *sizes))
        if POSITIONS in usual:
            usual[POSITIONS] = self.context
        own = self.fields or {}
        for name in own.keys() - usual.keys():
            fix = nearest(name, usual)
            raise SetunError("field", f"must be one that {self.architecture} has", name, fix)
        config = family.parse_config(Fields(usual | own, "field"))
        if family.sizes(config) != sizes:
            rule = "must be those of the weights to begin with"
            if not self.init:
                rule = "must be what --hidden, --layers and --intermediate say"
            raise SetunError("sizes", rule, family.sizes(config))
        if getattr(config, POSITIONS, self.context) < self.context:
            raise SetunError("context", "must be at most the model's positions", self.context)
        return config

    @staticmethod
    def window(config: Any) -> int:
        """Tokens of a row that a model is evaluated on, from a zero state."""
        return min(WINDOW, getattr(config, POSITIONS, WINDOW))

    def weights(self, vocab_size: int) -> int:
        """Ternary weights of the model."""
        return self._family.weights(self.model(vocab_size))

    @property
    def _family(self) -> Architecture:
        return find(self.architecture)

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, from 0: linear warm-up, then half a cosine (Loshchilov and
        Hutter, arXiv 1608.03983)."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * share)))

    def kept_at(self, step: int) -> float:
        """Share of the average that a step, from 0, leaves: a half over `average` steps, less at
        first, when a tenth of the steps so far is all that a long average should look back to."""
        return float(min(0.5 ** (1 / self.average), (1 + step) / (10 + step)))

    def told_from(self, other: "Recipe") -> str:
        """What is another here than there: "steps 10, not 5"."""
        there = asdict(other)
        return "; ".join(
            f"{name} {value}, not {there[name]}"
            for name, value in asdict(self).items()
            if value != there[name]
        )

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """The recipe that `to_json` wrote; SetunError for other text."""
        try:
            values: dict[str, Any] = json.loads(text)
            return cls(**values)
        except (ValueError, TypeError) as error:
            raise SetunError("recipe", "must be what setun train wrote", error) from error
