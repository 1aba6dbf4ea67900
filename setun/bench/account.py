"""Where each layer's cycles go: the model cut behind one layer after another."""

from collections.abc import Callable
from dataclasses import replace

from setun.bench.measure import Measurement, measure
from setun.firmware.config import ChipConfig
from setun.firmware.program.compiler import Image, with_hash
from setun.firmware.program.isa import Op

Account = dict[str, float]
"""Cycles of a token by what the array does, and `cycles`, their sum."""


def shallow(image: Image, layers: int) -> Image:
    """The first `layers` layers, at least one, with the model's own head.

    What follows is the head, so the last matvec that is left feeds nobody.
    """
    kept = tuple(f"model.layers.{k}." for k in range(layers))
    body = next(k for k, i in enumerate(image.program) if i.op is Op.END)
    program = [
        i
        for i in image.program[:body]
        if not i.note.startswith("model.layers.") or i.note.startswith(kept)
    ]
    program[-1] = replace(program[-1], feeds=False)
    matrices = [m for m in image.matrices[:-1] if m.name.startswith(kept)]
    return with_hash(
        replace(
            image,
            config=replace(image.config, num_hidden_layers=layers),
            matrices=(*matrices, image.matrices[-1]),
            gates=image.gates[:layers],
            program=(*program, *image.program[body:]),
        )
    )


def layer_accounts(
    name: str,
    model: str,
    image: Image,
    config: ChipConfig,
    tokens: int,
    whole: list[Measurement],
    progress: Callable[[str], None] = lambda stage: None,
) -> list[list[Account]]:
    """For each row of `whole`, `measure`'s of all layers: what each layer adds to a token.

    The first one comes with embedding and sampling. Every token of the cut models is compared
    with the golden model's too. Arguments as of `measure`.
    """
    rows = []
    for layers in range(1, image.config.num_hidden_layers):
        progress(f"run {name}, {layers} layers")
        rows.append(measure(name, model, shallow(image, layers), config, tokens, prefill=False))
    rows.append(whole)
    accounts = []
    for k in range(len(whole)):
        totals = [{**row[k].account, "cycles": sum(row[k].account.values())} for row in rows]
        none = dict.fromkeys(totals[0], 0.0)
        accounts.append(
            [
                {key: after[key] - before[key] for key in after}
                for before, after in zip([none, *totals], totals, strict=False)
            ]
        )
    return accounts
