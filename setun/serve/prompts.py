"""Prompts and chats as token ids."""

from typing import Any

from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.models.tokenizer import Tokenizer
from setun.serve.refusal import wrong
from setun.talk.dialogue import begun

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class Prompts:
    """Reads prompts for one model.

    Parameters
    ----------
    image
        The model.
    longest
        Tokens of a prompt at most; fewer where the model has fewer positions.

    Members
    -------
    tokenizer
        The model's; None where it has none, then prompts are token ids.
    """

    def __init__(self, image: Image, longest: int) -> None:
        self._image = image
        self._longest = min(longest, image.memory.positions or longest)
        self.tokenizer: Tokenizer | None = None
        if image.tokenizer_json is not None:
            self.tokenizer = Tokenizer.from_json(image.tokenizer_json, image.vocab_size)

    def completion(self, prompt: Any) -> list[list[int]]:
        """Ids of each prompt: a text, ids, or an array of either.

        Raises
        ------
        Refusal
            It is none of these, or the model cannot read it.
        """
        if isinstance(prompt, str) or _is_ids(prompt):
            prompt = [prompt]
        if not isinstance(prompt, list) or not prompt:
            rule = "prompt must be a string, an array of token ids, or an array of these"
            raise wrong("prompt", rule)
        return [self._one(each) for each in prompt]

    def chat(self, messages: Any) -> list[int]:
        """Ids of a chat, up to where the answer begins.

        They are what the model's chat template makes of it. A model without one reads the contents
        alone, each ending with a line break where it has such a token, and goes on from there.

        Raises
        ------
        Refusal
            They are no messages, or the model cannot read them.
        """
        if not isinstance(messages, list) or not messages:
            raise wrong("messages", "messages must be an array of at least one message")
        read = [_message(k, each) for k, each in enumerate(messages)]
        if self.tokenizer is None:
            raise wrong("messages", "the model has no tokenizer; give token ids to /v1/completions")
        try:
            if self._image.chat is not None:
                ids = begun(self._image.chat, self.tokenizer, self._image.chat.render(read))
            else:
                ids = self._plain([message["content"] for message in read])
        except SetunError as error:
            raise wrong("messages", str(error)) from None
        return self._checked(ids, "messages")

    def _plain(self, contents: list[str]) -> list[int]:
        assert self.tokenizer is not None
        try:
            self.tokenizer.encode("\n", begins=False)
        except SetunError:
            return self.tokenizer.encode("".join(contents))
        return self.tokenizer.encode("".join(f"{content}\n" for content in contents))

    def _one(self, prompt: Any) -> list[int]:
        if _is_ids(prompt):
            size = self._image.vocab_size
            if not all(0 <= token < size for token in prompt):
                raise wrong("prompt", f"token ids must be from 0 to {size - 1}")
            return self._checked(prompt, "prompt")
        if not isinstance(prompt, str):
            raise wrong("prompt", "each prompt must be a string or an array of token ids")
        if self.tokenizer is None:
            raise wrong("prompt", "the model has no tokenizer; give token ids")
        try:
            return self._checked(self.tokenizer.encode(prompt), "prompt")
        except SetunError as error:
            raise wrong("prompt", str(error)) from None

    def _checked(self, ids: list[int], param: str) -> list[int]:
        if not ids:
            raise wrong(param, f"{param} must have at least one token")
        if len(ids) > self._longest:
            message = f"{param} has {len(ids)} tokens; at most {self._longest} are read"
            raise wrong(param, message, "context_length_exceeded")
        return ids


def _is_ids(prompt: Any) -> bool:
    whole = isinstance(prompt, list) and prompt
    return bool(whole) and all(type(token) is int for token in prompt)


def _message(number: int, message: Any) -> dict[str, str]:
    name = f"messages[{number}]"
    if not isinstance(message, dict):
        raise wrong("messages", f"{name} must be an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise wrong("messages", f"{name}.role must be one of {', '.join(_ROLES)}")
    return {"role": _ROLES[role], "content": _content(name, message.get("content"))}


def _content(name: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(text, str):
            shown = f"{kind} is not served" if isinstance(kind, str) else "must be text"
            raise wrong("messages", f"{name}.content: {shown[:80]}", "unsupported_parameter")
        texts.append(text)
    return "".join(texts)
