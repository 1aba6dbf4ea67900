"""Where each layer's cycles go: the model cut behind one layer after another."""

from collections.abc import Callable
from dataclasses import replace

from setun.bench.measure import Measurement, measure
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image
from setun.firmware.image.model_hash import with_hash
from setun.firmware.program.isa import Instruction, Op

Account = dict[str, float]
"""Cycles of a token by what the array does, and `cycles`, their sum."""


def shallow(image: Image, layers: int) -> Image:
    """The first `layers` layers, at least one, with the model's own head.

    What follows is the head, so the last matvec that is left feeds nobody.
    """
    cut = {k for layer in image.layers[layers:] for k in range(layer.start, layer.end)}
    matrices = iter(image.matrices)
    program: list[Instruction] = []
    kept = []
    for k, instruction in enumerate(image.program):
        matrix = next(matrices) if instruction.op is Op.MATVEC else None
        if k in cut:
            continue
        if not instruction.stream and program[-1:] and program[-1].feeds:
            program[-1] = replace(program[-1], feeds=False)
        program.append(instruction)
        if matrix is not None:
            kept.append(matrix)
    return with_hash(
        replace(
            image,
            program=tuple(program),
            layers=image.layers[:layers],
            matrices=tuple(kept),
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
    for layers in range(1, len(image.layers)):
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
