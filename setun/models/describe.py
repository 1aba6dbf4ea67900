"""What a checkpoint is: family, switches, tensors, tokenizer."""

import json
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from setun.firmware.core_kinds import NORMING
from setun.firmware.errors import SetunError
from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.models.compiler import outline
from setun.firmware.models.tokenizer import Tokenizer


def describe(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """What `setun inspect --json` prints of a checkpoint."""
    architecture, config = checkpoint.architecture, checkpoint.config
    shapes = architecture.expected_shapes(config)
    tied = architecture.tied(config)
    return {
        "checkpoint": path,
        "format": checkpoint.format,
        "name": checkpoint.name,
        "family": architecture.model_type,
        "description": architecture.description,
        "lacking": _lacking(checkpoint),
        "config": asdict(config),
        "weights": architecture.weights(config),
        "numbers": sum(math.prod(shape) for name, shape in shapes.items() if name not in tied),
        "tokenizer": _tokenizer(checkpoint),
        "end_tokens": list(checkpoint.end_tokens),
        "chat_template": checkpoint.chat.template if checkpoint.chat else None,
        "tensors": [
            {"name": name, "shape": list(shape), "type": checkpoint.stored.get(name, "")}
            for name, shape in shapes.items()
        ],
        "tied": tied,
    }


def told(found: dict[str, Any]) -> tuple[list[str], list[dict[str, object]]]:
    """Lines for people, and rows of a table of the tensors."""
    kinds = Counter(tensor["type"] for tensor in found["tensors"] if tensor["type"])
    lines = [
        f"{found['checkpoint']}: {found['format']}, "
        + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()),
        "",
        f"{'family':<24} {found['family']}: {found['description']}",
        *(f"{name:<24} {value}" for name, value in found["config"].items()),
        f"{'ternary weights':<24} {found['weights']} of {found['numbers']} numbers",
        f"{'tokenizer':<24} {_said(found['tokenizer'])}",
        f"{'end_tokens':<24} {found['end_tokens']}",
        f"{'chat template':<24} {_shown(found['chat_template'])}",
        f"{'on a chip':<24} {'no: lacking ' + found['lacking'] if found['lacking'] else 'yes'}",
    ]
    rows: list[dict[str, object]] = [
        {"tensor": each["name"], "type": found["tied"].get(each["name"], each["type"])}
        | {"shape": "x".join(map(str, each["shape"]))}
        for each in found["tensors"]
    ]
    return lines, rows


def _lacking(checkpoint: Checkpoint) -> str:
    """What the model needs and no core has; "" for one that runs on a chip."""
    try:
        drawn = outline(checkpoint.architecture, checkpoint.config, checkpoint.name)
        NORMING.check_program(drawn.program)
    except SetunError as error:
        return str(error.value)
    return ""


def _tokenizer(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Its kind and its tokens, the added ones among them; `SetunError` for one that is none."""
    if checkpoint.tokenizer_json is None:
        return None
    Tokenizer.from_json(checkpoint.tokenizer_json, checkpoint.config.vocab_size)
    read = json.loads(checkpoint.tokenizer_json)
    tokens, added = len(read["model"]["vocab"]), len(read.get("added_tokens") or [])
    return {"type": read["model"].get("type"), "tokens": tokens, "added": added}


def _said(tokenizer: dict[str, Any] | None) -> str:
    if tokenizer is None:
        return "none"
    return f"{tokenizer['type']}, {tokenizer['tokens']} tokens, {tokenizer['added']} added"


def _shown(template: str | None) -> str:
    return "none" if template is None else f"{len(template)} characters of Jinja"
