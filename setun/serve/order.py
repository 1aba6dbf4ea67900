"""What a request asks for, checked: as /v1/completions and /v1/chat/completions have it."""

import secrets
from dataclasses import dataclass, replace
from typing import Any

from setun.backends.base import Sampling
from setun.firmware.errors import SetunError
from setun.serve.fields import Fields
from setun.serve.refusal import Refusal, wrong

MOST_CHOICES = 128
MOST_STOPS = 4
LONGEST_STOP = 1000  # characters
USUAL_TOKENS = 16  # of a completion that does not say how many, as the API has it
_SEEDS = 1 << 32

# What would change the answer and is not served, and the values that ask for nothing.
_UNSERVED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "prediction": (),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (),
    "web_search_options": (),
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """A request, but for its prompt.

    Members
    -------
    count
        Tokens of an answer at most.
    choices
        Answers to each prompt; the k-th is sampled with seed + k.
    usage
        Whether a stream ends with the counts.
    details
        Whether a stream tells of each token what `setun` knows; an extension.
    """

    count: int
    choices: int
    sampling: Sampling
    stops: tuple[str, ...]
    stream: bool
    usage: bool
    verify: bool
    details: bool

    def seeded(self, number: int) -> Sampling:
        """Sampling of one of all choices."""
        return replace(self.sampling, seed=(self.sampling.seed + number) % _SEEDS)


def read_order(fields: Fields, model: str, most: int, *, chat: bool, verify: bool) -> Order:
    """Check a request's fields.

    Parameters
    ----------
    fields
        The body.
    model
        The name of the only model.
    most
        Tokens of an answer at most, and of a chat's that does not say how many.
    chat
        Whether it is a chat.
    verify
        Whether every answer is checked.

    Raises
    ------
    Refusal
        A field is wrong, or asks for what is not served.
    """
    named = fields.of(str, "model", model)
    if named != model:
        message = f"The model {named[:80]!r} does not exist; this server has {model!r}"
        raise Refusal(404, message, param="model", code="model_not_found")
    for name, nothing in _UNSERVED.items():
        value = fields.get(name)
        if value is not None and not any(_same(value, allowed) for allowed in nothing):
            raise wrong(name, f"{name} is not served", "unsupported_parameter")
    stream = fields.of(bool, "stream", False)
    options = Fields(fields.of(dict, "stream_options", {}))
    if fields.get("stream_options") is not None and not stream:
        raise wrong("stream_options", "stream_options need stream to be true")
    own = Fields(fields.of(dict, "setun", {}))
    return Order(
        count=_count(fields, most, chat),
        choices=fields.whole("n", 1, 1, MOST_CHOICES),
        sampling=_sampling(fields),
        stops=_stops(fields.get("stop")),
        stream=stream,
        usage=options.of(bool, "include_usage", False),
        verify=own.of(bool, "verify", False) or verify,
        details=own.of(bool, "details", False),
    )


def _same(value: Any, allowed: Any) -> bool:
    """Equal, where true is not 1."""
    return value == allowed and isinstance(value, bool) == isinstance(allowed, bool)


def _count(fields: Fields, most: int, chat: bool) -> int:
    usual = most if chat else min(most, USUAL_TOKENS)
    name = "max_tokens"
    if chat and fields.get("max_completion_tokens") is not None:
        name = "max_completion_tokens"
    return fields.whole(name, usual, 1, most)


def _sampling(fields: Fields) -> Sampling:
    values: dict[str, Any] = {
        "temperature": fields.number("temperature", 1.0),
        "seed": fields.whole("seed", secrets.randbelow(_SEEDS), -(1 << 63), (1 << 64) - 1) % _SEEDS,
        "top_p": fields.number("top_p", 1.0),
        "top_k": fields.whole("top_k", 0, -1, 1 << 31),
        "ignore_eos": fields.of(bool, "ignore_eos", False),
    }
    for name, value in values.items():
        try:
            Sampling(**{name: value})
        except SetunError as error:
            raise wrong(name, str(error)) from None
    return Sampling(**values)


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise wrong("stop", "stop must be a string or an array of strings")
    if len(stops) > MOST_STOPS or not all(0 < len(stop) <= LONGEST_STOP for stop in stops):
        rule = f"at most {MOST_STOPS} texts of 1 to {LONGEST_STOP} characters"
        raise wrong("stop", f"stop must have {rule}")
    return tuple(stops)
