"""Tokens with which a model ends its text, as a checkpoint's files name them."""

import json
from collections.abc import Mapping
from typing import Any

from setun.firmware.errors import SetunError
from setun.firmware.models.chat import Chat

FIELD = "eos_token_id"


def end_tokens(
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    naming: Mapping[str, Any],
    tokenizer_json: str | None,
    vocab_size: int,
    chat: Chat | None = None,
) -> tuple[int, ...]:
    """Ids that end a text, sorted: as Hugging Face's `generate` would stop at.

    generation_config.json wins over config.json, and what tokenizer_config.json calls `eos_token`
    counts where neither has ids. Only ids that the tokenizer has as added tokens count: upstream
    writes 2 into every config.json, which may be a letter. A model without tokenizer has none.
    The token that its chat template writes behind an answer ends a text too: 2B4T's config.json
    leaves out the one that its chat ends with.

    Parameters
    ----------
    config, generation, naming
        config.json, generation_config.json, tokenizer_config.json; empty where there is no file.
    tokenizer_json
        Text of tokenizer.json, unchecked.
    chat
        The model's template, if it has one.
    vocab_size
        Ids that the model lacks are never produced.

    Raises
    ------
    SetunError
        `eos_token_id` is neither an id nor a list of ids.
    """
    added = _added_tokens(tokenizer_json)
    named = naming.get("eos_token")
    content = named.get("content") if isinstance(named, dict) else named
    ids = _ids(generation, "generation_config.json") or _ids(config, "config.json")
    if not ids and content in added:
        ids = [added[content]]
    if chat is not None and (turn := chat.ends_turn(added)) is not None:
        ids = [*ids, turn]
    return tuple(sorted({k for k in ids if k in added.values() and 0 <= k < vocab_size}))


def _ids(values: Mapping[str, Any], file: str) -> list[int]:
    found = values.get(FIELD)
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(type(token) is int for token in ids):
        rule = "must be a token id or a list of them"
        raise SetunError(f"{file} {FIELD}", rule, json.dumps(found)[:60])
    return ids


def _added_tokens(tokenizer_json: str | None) -> dict[Any, int]:
    """Id of each added token; none where the text describes no tokenizer."""
    try:
        listed = json.loads(tokenizer_json or "{}").get("added_tokens") or []
        return {str(token["content"]): int(token["id"]) for token in listed}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
