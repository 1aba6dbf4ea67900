"""What every backend offers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image

LOWEST_TEMPERATURE = 1e-3
SHARPER = "a lower temperature makes unlikely tokens rarer"


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen.

    temperature
        0 for the most likely token; else logits are divided by it and Gumbel noise is added.
    seed
        Of the noise; the same seed gives the same tokens on every backend.
    top_k, top_p
        Tokens that may be chosen: all of them, 0 and 1. The chip knows no other limit
        (docs/numerics.md says what one would cost) but a `top_k` of 1, which is greedy.
    ignore_eos
        Go on behind a token that ends the model's text.
    """

    temperature: float = 0.0
    seed: int = 0
    top_k: int = 0
    top_p: float = 1.0
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if self.temperature != 0.0 and not LOWEST_TEMPERATURE <= self.temperature <= 1000.0:
            raise SetunError(
                "temperature",
                f"must be 0 (greedy) or from {LOWEST_TEMPERATURE:g} to 1000",
                self.temperature,
            )
        if not 0 <= self.seed < 1 << 32:
            raise SetunError("seed", "must be from 0 to 4294967295", self.seed)
        if self.top_k not in (-1, 0, 1):
            rule = "must be 0 (off) or 1 (greedy), the chip samples from all tokens"
            raise SetunError("top-k", rule, self.top_k, SHARPER)
        if self.top_p != 1.0:
            rule = "must be 1 (off), the chip samples from all tokens"
            raise SetunError("top-p", rule, self.top_p, SHARPER)

    def ends(self, image: Image) -> tuple[int, ...]:
        """Tokens that end a generation."""
        return () if self.ignore_eos else image.end_tokens

    @property
    def inverse_temperature(self) -> float | None:
        """1/T, or None for greedy."""
        greedy = self.temperature == 0.0 or self.top_k == 1
        return None if greedy else 1.0 / self.temperature


def check_context(context: int, contexts: int) -> None:
    """Refuse a conversation that a chip with so many `contexts` does not hold."""
    if not 0 <= context < contexts:
        rule = f"must be from 0 to {contexts - 1}" if contexts > 1 else "must be 0"
        raise SetunError("context", rule, context, f"the chip holds {contexts}")


class Backend(Protocol):
    """A model ready to run; a context manager."""

    @property
    def cycles_per_token(self) -> float | None:
        """Clock cycles a sampled token took in the latest generation; None without a clock."""

    @property
    def positions(self) -> int:
        """Tokens that a conversation may have; 0 where nothing limits it."""

    @property
    def clock_hz(self) -> int | None:
        """Clock of the chip."""

    def generate(self, prompt: Sequence[int], count: int, sampling: Sampling) -> Iterator[int]:
        """Feed `prompt` to a fresh state, then yield `count` tokens as they come.

        Fewer where the model ends its text before, unless `sampling` ignores that; the token that
        ends it is the last one. Fewer too where no position is left for another token.
        """

    def close(self) -> None:
        """Release ports and processes."""
