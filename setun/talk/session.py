"""One run of a model: prompt to ids, tokens to text, every token checked against golden."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from setun.backends import Backend, GoldenBackend, Sampling
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.link.messages import Reason
from setun.firmware.models.decoding import StreamDecoder
from setun.firmware.models.tokenizer import Tokenizer
from setun.firmware.numerics.options import Numerics
from setun.talk.dialogue import OPTION, Dialogue


@dataclass
class Result:
    """What a run gave; the keys of `run --json`.

    reason is why it ended: "count", "end_of_text", "context_full", or "stopped" by who asked.
    positions_left is how many tokens more the conversation can have; None where nothing limits it.
    tokens_per_second is wall-clock; cycles_per_token and chip_tokens_per_second are the chip's
    own, None where there is no clock.
    """

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    cycles_per_token: float | None = None
    tokens_per_second: float = 0.0
    chip_tokens_per_second: float | None = None
    golden_match: bool | None = None
    reason: str = "stopped"
    positions_left: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready contents."""
        return dict(self.__dict__)


def prompt_ids(image: Image, text: str | None, ids: str | None, chat: bool = False) -> list[int]:
    """Token ids of a prompt given as text or as comma-separated numbers.

    With `chat` the text is a message, which the model's template says how to read.
    """
    vocabulary = image.vocab_size
    if chat:
        if text is None or ids is not None:
            raise SetunError(OPTION, "needs a message, --prompt TEXT")
        return Dialogue(image).ask(text)
    if ids is not None:
        if text:
            raise SetunError("prompt", "is either text or ids", "both", "drop one of the options")
        try:
            tokens = [int(word) for word in ids.split(",")]
        except ValueError:
            raise SetunError("prompt ids", "must be whole numbers, 1,2,3", ids) from None
        for token in tokens:
            if not 0 <= token < vocabulary:
                raise SetunError("prompt id", f"must be from 0 to {vocabulary - 1}", token)
    else:
        if image.tokenizer_json is None:
            raise SetunError(
                "prompt",
                "needs a tokenizer, and the model has none",
                "",
                "give ids with --prompt-ids 1,2,3",
            )
        tokens = Tokenizer.from_json(image.tokenizer_json, vocabulary).encode(text or "")
    if not tokens:
        raise SetunError("prompt", "must have at least one token", "none", "give --prompt TEXT")
    return tokens


def stream(
    image: Image,
    backend: Backend,
    numerics: Numerics,
    prompt: Sequence[int],
    count: int,
    sampling: Sampling,
    result: Result,
) -> Iterator[str]:
    """Run and yield text as it comes; fill `result`, also when the consumer stops early.

    Each token of a chip is compared with the golden model's before its text is given out.
    """
    if count < 1:
        raise SetunError("token count", "must be at least 1", count)
    check: Iterator[int] | None = None
    if not isinstance(backend, GoldenBackend):
        golden = GoldenBackend(image, numerics, backend.positions)
        check = golden.generate(prompt, count, sampling)
    decoder = None
    if image.tokenizer_json is not None:
        tokenizer = Tokenizer.from_json(image.tokenizer_json, image.vocab_size)
        decoder = StreamDecoder(tokenizer, context=list(prompt))
    result.golden_match = True
    started = time.monotonic()
    for token in backend.generate(prompt, count, sampling):
        if check is not None and (expected := next(check)) != token:
            result.golden_match = False
            raise SetunError(
                f"token {len(result.tokens)}",
                f"must equal the golden model's {expected}",
                token,
                "report this with the model, prompt and seed",
            )
        result.tokens.append(token)
        result.tokens_per_second = len(result.tokens) / max(time.monotonic() - started, 1e-9)
        text = f"{token} " if decoder is None else decoder.feed(token)
        result.text += text
        yield text
    if decoder is not None and (rest := decoder.flush()):
        result.text += rest
        yield rest
    made = len(result.tokens)
    ended = bool(result.tokens) and result.tokens[-1] in sampling.ends(image)
    full = Reason.CONTEXT_FULL if made < count else Reason.COUNT
    result.reason = (Reason.END_OF_TEXT if ended else full).name.lower()
    if backend.positions:
        result.positions_left = max(0, backend.positions - len(prompt) - made)
    result.cycles_per_token = backend.cycles_per_token
    if backend.clock_hz and backend.cycles_per_token:
        result.chip_tokens_per_second = backend.clock_hz / backend.cycles_per_token
