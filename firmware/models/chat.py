"""Chat templates: conversations as the text that a model was trained on, and what ends a turn."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from setun.firmware.errors import SetunError

THING = "chat template"
LONGEST = 1 << 20
"""Characters of the longest template that is taken."""
Messages = Sequence[Mapping[str, str]]
"""Each with a `role` (system, user, assistant) and its `content`."""

_USER, _ANSWER = "\u00a7question\u00a7", "\u00a7answer\u00a7"


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A model's chat template, in Jinja as Hugging Face has it.

    Untrusted: it is rendered in Jinja's sandbox.
    """

    template: str
    bos_token: str = ""
    """Text of the token that begins a text, which a template may write."""
    eos_token: str = ""
    """Text of the token that ends one, likewise."""

    def render(self, messages: Messages, answer: bool = True) -> str:
        """The text of a conversation; with `answer` up to where the model's answer begins.

        Raises
        ------
        SetunError
            The template is wrong, or refuses such a conversation.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        try:
            return environment.from_string(self.template).render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=answer,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
            )
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise SetunError(THING, "must render the conversation", error) from error
        except RecursionError as error:
            raise SetunError(THING, "must render the conversation", "it recurs") from error

    def ends_turn(self, added: Mapping[Any, int]) -> int | None:
        """Id of the token that is written behind an answer, None where there is none.

        Parameters
        ----------
        added
            Ids of the tokenizer's added tokens by their text.
        """
        asked = {"role": "user", "content": _USER}, {"role": "assistant", "content": _ANSWER}
        try:
            text = self.render(asked, answer=False)
        except SetunError:
            return None  # a model may be read whose template is of no use
        behind = text.rpartition(_ANSWER)[2].lstrip()
        found = [token for token in added if token and behind.startswith(token)]
        return added[max(found, key=len)] if found else None

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Chat":
        """Inverse of `to_json`.

        Raises
        ------
        SetunError
            The text is no such object.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SetunError(THING, "must be JSON", error) from error
        names = set(cls.__dataclass_fields__)
        if not isinstance(values, dict) or set(values) != names:
            raise SetunError(THING, f"must be an object of {', '.join(sorted(names))}")
        return cls.of(values["template"], values["bos_token"], values["eos_token"])

    @classmethod
    def of(cls, template: object, bos_token: object, eos_token: object) -> "Chat":
        """A template and tokens as a file has them.

        Raises
        ------
        SetunError
            One of them is no text, or too long.
        """
        texts = {"template": template, "bos_token": bos_token, "eos_token": eos_token}
        for name, text in texts.items():
            if not isinstance(text, str) or len(text) > LONGEST:
                raise SetunError(THING, f"{name} must be a text of at most {LONGEST} characters")
        return cls(template=str(template), bos_token=str(bos_token), eos_token=str(eos_token))


def from_files(naming: Mapping[str, Any], separate: str | None) -> Chat | None:
    """The template of a checkpoint folder, None where it has none.

    Parameters
    ----------
    naming
        tokenizer_config.json: `chat_template`, a text or a list of named ones, and what begins and
        ends a text.
    separate
        Text of chat_template.jinja, which wins.
    """
    template = naming.get("chat_template") if separate is None else separate
    if isinstance(template, list):
        named = {each.get("name"): each for each in template if isinstance(each, dict)}
        template = named.get("default", {}).get("template")
    if template is None:
        return None
    return Chat.of(template, *(_content(naming.get(f"{kind}_token")) for kind in ("bos", "eos")))


def _content(token: object) -> object:
    """A special token's text, which may be in an object."""
    found = token.get("content") if isinstance(token, dict) else token
    return "" if found is None else found


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: object) -> NoReturn:
    raise TemplateError(str(message))


def _now(form: str) -> str:
    return datetime.now().strftime(form)
