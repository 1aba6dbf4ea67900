"""Tokens per second of training, against a loop over tokens: `python -m setun.train.speed`."""

import json
import time
from collections.abc import Callable

import click
import torch
from torch import Tensor
from torch.nn import functional

from setun.train import plain
from setun.train.allocator import keep_freed_memory
from setun.train.loop import matmul_type
from setun.train.model import HgrnBit
from setun.train.recipe import Recipe

VOCABULARY = 65


def _rate(way: Callable[[Tensor], Tensor], model: HgrnBit, ids: Tensor, seconds: float) -> float:
    """Tokens a second of forward and backward passes with `way` of making logits."""
    device = ids.device

    def once() -> None:
        model.zero_grad(set_to_none=True)
        out = way(ids[:, :-1]).float().flatten(0, 1)
        functional.cross_entropy(out, ids[:, 1:].flatten()).backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    once()
    passes, begun = 0, time.monotonic()
    while passes < 2 or time.monotonic() - begun < seconds:
        once()
        passes += 1
    return passes * (ids.shape[1] - 1) * len(ids) / (time.monotonic() - begun)


def measure(recipe: Recipe, device: str, seconds: float) -> dict[str, float]:
    """Tokens a second by way: ours in each type of products, and `setun.train.plain`."""
    place = torch.device(device)
    shape = recipe.batch, recipe.context + 1
    ids = torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(1)).to(place)
    rates = {}
    kinds = dict.fromkeys((matmul_type(place), torch.float32))
    for kind in kinds:
        model = HgrnBit(recipe.model(VOCABULARY), matmul=kind).to(place)
        name = str(kind).removeprefix("torch.")
        rates[f"scan, {name}"] = _rate(model, model, ids, seconds)
    rates["loop over tokens"] = _rate(lambda ids: plain.logits(model, ids), model, ids, seconds)
    return rates


@click.command()
@click.option("--batch", type=int, default=16, show_default=True)
@click.option("--context", type=int, default=256, show_default=True)
@click.option("--threads", type=int, help="Of PyTorch.")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="For each way.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def command(
    batch: int, context: int, threads: int | None, seconds: float, device: str, as_json: bool
) -> None:
    """Forward and backward passes of the usual model, our way and as one writes it first."""
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    rates = measure(Recipe(batch=batch, context=context), device, seconds)
    if as_json:
        print(json.dumps(rates))
        return
    slowest = rates["loop over tokens"]
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} tokens/s, {rate / slowest:.2f} times the loop's")


if __name__ == "__main__":
    command()
