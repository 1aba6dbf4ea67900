"""Replies as the API has them."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from setun.serve.job import Job, Said
from setun.serve.refusal import Json


@dataclass
class Choice:
    """An answer so far."""

    index: int
    text: str = ""
    reason: str | None = None


def usage(jobs: Sequence[Job], choices: int) -> Json:
    """Counts of tokens; `cached_tokens` of them were in a context already."""
    # Each prompt counts once, whatever number of answers it gets.
    read = sum(len(job.prompt) for job in jobs[::choices])
    made = sum(job.made for job in jobs)
    cached = sum(job.cached for job in jobs[::choices])
    return {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


class Replies:
    """The replies to one request.

    Parameters
    ----------
    model
        Name of the model.
    fingerprint
        Of model and chip.
    chat
        Whether it is a chat.
    """

    def __init__(self, model: str, fingerprint: str, *, chat: bool) -> None:
        self._chat = chat
        self._head: Json = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": "",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }

    def whole(self, choices: Sequence[Choice], counts: Json) -> Json:
        """The reply that is no stream."""
        kind = "chat.completion" if self._chat else "text_completion"
        listed = []
        for choice in choices:
            said: Json = {"text": choice.text}
            if self._chat:
                message = {"role": "assistant", "content": choice.text, "refusal": None}
                said = {"message": message}
            listed.append(self._choice(choice.index, said, choice.reason))
        return {**self._head, "object": kind, "choices": listed, "usage": counts}

    def first(self, index: int) -> Json | None:
        """What a stream's choice begins with; None where that is nothing."""
        if not self._chat:
            return None
        return self._chunk(index, {"role": "assistant", "content": "", "refusal": None})

    def piece(self, index: int, text: str, said: Said | None = None) -> Json:
        """A piece of a choice's text; with what is known of its token, an extension."""
        chunk = self._chunk(index, {"content": text} if self._chat else text)
        if said is not None:
            chunk["setun"] = {"token": said.token, "golden": True if said.checked else None}
        return chunk

    def last(self, index: int, reason: str) -> Json:
        """The end of a choice."""
        return self._chunk(index, {} if self._chat else "", reason)

    def counted(self, counts: Json) -> Json:
        """The end of a stream of which the counts were asked for."""
        return {**self._head, "object": self._kind, "choices": [], "usage": counts}

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _chunk(self, index: int, said: Any, reason: str | None = None) -> Json:
        own = {"delta": said} if self._chat else {"text": said}
        return {
            **self._head,
            "object": self._kind,
            "choices": [self._choice(index, own, reason)],
        }

    def _choice(self, index: int, said: Json, reason: str | None) -> Json:
        return {"index": index, **said, "logprobs": None, "finish_reason": reason}
