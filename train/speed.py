"""Tokens per second of training, against a loop over tokens: `python -m setun.train.speed`."""

import json
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from setun.programs import parser, run
from setun.train import plain
from setun.train.allocator import keep_freed_memory
from setun.train.devices import NAMES, find, matmul_type
from setun.train.hgrn_bit import TrainedModel
from setun.train.recipe import Recipe

VOCABULARY = 65


def _rate(
    way: Callable[[Tensor], Tensor], model: TrainedModel, ids: Tensor, seconds: float
) -> float:
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
    place = find(device)
    shape = recipe.batch, recipe.context + 1
    ids = torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(1)).to(place)
    rates = {}
    kinds = dict.fromkeys((matmul_type(place), torch.float32))
    for kind in kinds:
        model = TrainedModel(recipe.model(VOCABULARY), matmul=kind).to(place)
        name = str(kind).removeprefix("torch.")
        rates[f"scan, {name}"] = _rate(model, model, ids, seconds)
    rates["loop over tokens"] = _rate(lambda ids: plain.logits(model, ids), model, ids, seconds)
    return rates


def main() -> None:
    """Print each way's tokens a second."""
    options = parser(__doc__)
    options.add_argument("--batch", type=int, default=16, metavar="N", help="rows (%(default)s)")
    options.add_argument(
        "--context", type=int, default=256, metavar="N", help="their tokens (%(default)s)"
    )
    options.add_argument("--threads", type=int, metavar="N", help="of PyTorch")
    options.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="for each way (%(default)s)"
    )
    options.add_argument("--device", choices=NAMES, default="cpu")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    recipe = Recipe(batch=chosen.batch, context=chosen.context)
    keep_freed_memory()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    rates = measure(recipe, chosen.device, chosen.seconds)
    if chosen.json:
        print(json.dumps(rates))
        return
    slowest = rates["loop over tokens"]
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} tokens/s, {rate / slowest:.2f} times the loop's")


if __name__ == "__main__":
    run(main)
