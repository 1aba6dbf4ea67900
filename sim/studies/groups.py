"""`python -m setun.sim.studies.groups`: what scales of groups cost in so many bits.

Random transformers with a scale for every 128 inputs, 4 layers, 512 wide: divergence from the float
reference with float inputs, in nat a token, and how often the likeliest token is the same; scales
are whole numbers of a row's unit, of that many bits. A minute.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from setun.firmware.models.architecture import find
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.models.bitnet.projections import projections
from setun.firmware.models.checkpoint import Checkpoint
from setun.firmware.numerics.formats import Format
from setun.programs import line, parser, run, table
from setun.sim.reference.bitnet import FloatModel
from setun.sim.reference.layers import Array, Ids
from setun.sim.studies.transformers import Price

CONFIG = BitnetConfig(
    vocab_size=256,
    hidden_size=512,
    intermediate_size=1536,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=64,
    max_position_embeddings=512,
    rms_norm_eps=1e-6,
    rope_theta=1e6,
    hidden_act="silu",
    sub_norms=False,
    qk_norm=True,
    packed=True,
    group=128,
    int8_inputs=False,
)
SPREADS = (0.1, 0.3, 0.8)
"""Of the scales' logarithms."""
Change = Callable[[Array], Array]


def checkpoint(spread: float) -> Checkpoint:
    """A random model with scales of such a spread, of float16."""
    family, rng = find("bitnet"), np.random.default_rng(6)
    tensors = {
        name: family.random_tensor(name, shape, rng).astype(np.float32)
        for name, shape in family.expected_shapes(CONFIG).items()
    }
    for name, (m, n) in projections(CONFIG).items():
        tensors[f"{name}.weight"] = rng.integers(-1, 2, (m, n)).astype(np.int8)
        scales = np.exp(spread * rng.normal(size=(m, n // CONFIG.group))) * n**-0.5
        tensors[f"{name}.weight_scale"] = scales.astype(np.float16).astype(np.float32)
    return Checkpoint(architecture=family, config=CONFIG, tensors=tensors, name="random")


def whole(bits: int) -> Change:
    """Scales as whole numbers of so many bits."""

    def change(scales: Array) -> Array:
        unit = scales.max(1, keepdims=True) / (2**bits - 1)
        return (np.rint(scales / unit) * unit).astype(np.float32)

    return change


def prices(spread: float, ids: Ids) -> Iterator[tuple[str, Price]]:
    """What each change costs a model."""
    given = checkpoint(spread)
    want = FloatModel(given).forward_batch(ids)

    def price(change: Change, *, int8_inputs: bool) -> Price:
        tensors = {
            name: change(tensor) if name.endswith("weight_scale") else tensor
            for name, tensor in given.tensors.items()
        }
        config = replace(CONFIG, int8_inputs=int8_inputs)
        changed = replace(given, config=config, tensors=tensors)
        return Price.of(want, FloatModel(changed).forward_batch(ids))

    yield "int8 inputs", price(np.asarray, int8_inputs=True)
    for bits in (4, 6, 7, 8, 10):
        yield f"factors of {bits} bits", price(whole(bits), int8_inputs=False)
    yield "int8 inputs, factors of 8 bits", price(whole(8), int8_inputs=True)
    others: dict[str, Change] = {
        "scales in the vector format": _in_vector_format,
        "one scale a row, their mean": _means,
    }
    for name, change in others.items():
        yield name, price(change, int8_inputs=False)


def _in_vector_format(scales: Array) -> Array:
    return Format().round(scales).astype(np.float32)


def _means(scales: Array) -> Array:
    return np.repeat(scales.mean(1, keepdims=True), scales.shape[1], 1)


def main() -> None:
    """Print the table."""
    parser(__doc__).parse_args()
    ids = np.random.default_rng(9).integers(0, CONFIG.vocab_size, (4, 64))
    columns = [dict(prices(spread, ids)) for spread in SPREADS]
    print(table(["change", *(f"spread {spread}" for spread in SPREADS)], ()))
    for name in columns[0]:
        print(line([name, *(column[name] for column in columns)]))


if __name__ == "__main__":
    run(main)
