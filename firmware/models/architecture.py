"""Families of models: what each must say, and the list of those that there are."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError, nearest
from setun.firmware.models.bitnet.architecture import Bitnet
from setun.firmware.models.fields import Fields
from setun.firmware.models.files import Files
from setun.firmware.models.hgrn_bit import HgrnBit
from setun.firmware.program.builder import Builder

Tensor = NDArray[Any]
"""Numbers, float32, or ternary codes, int8."""


class ModelConfig(Protocol):
    """Shape of one model; the architecture's own frozen dataclass."""

    @property
    def vocab_size(self) -> int:
        """Token ids are below it."""
        ...


class Architecture(Protocol):
    """Everything that Setun knows of one family of models.

    Members
    -------
    model_type
        As config.json has it.
    description
        What it is, in a line.
    reference
        Module with the float reference: its `FloatModel` takes a `Checkpoint`. A name, because
        firmware imports nothing of a simulation.
    training
        Module with the layers that are trained, its `TrainedModel`; "" where there are none.
    files
        What its files may have that the plain layout has not.
    """

    model_type: str
    description: str
    reference: str
    training: str
    files: Files

    def parse_config(self, fields: Fields) -> Any:
        """The configuration that a config.json describes; `SetunError` for what cannot run."""
        ...

    def config_fields(self, config: Any) -> dict[str, Any]:
        """Inverse of `parse_config`: what config.json says of a model."""
        ...

    def sized(self, vocab_size: int, hidden: int, layers: int, intermediate: int) -> Any:
        """The usual configuration of a model of these sizes."""
        ...

    def sizes(self, config: Any) -> tuple[int, int, int]:
        """Inverse of `sized`: hidden, layers, intermediate."""
        ...

    def weights(self, config: Any) -> int:
        """Ternary weights that a token reads."""
        ...

    def expected_shapes(self, config: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of a model."""
        ...

    def hint(self, tensor: str) -> str:
        """Why a file may have a tensor that its model has not; "" for what cannot be told."""
        ...

    def tied(self, config: Any) -> dict[str, str]:
        """Tensors that are other ones: a file may leave them out."""
        ...

    def random_tensor(self, name: str, shape: tuple[int, ...], draw: np.random.Generator) -> Tensor:
        """A tensor of a random model, whose numbers stay in the range of a trained one's."""
        ...

    def write_program(self, builder: Builder, config: Any, tensors: Mapping[str, Tensor]) -> None:
        """Write the model's program: a body, `end`, a head, `end`.

        `SetunError` for what no program says: such a model is read, and computed in float alone.
        """
        ...


_KNOWN: dict[str, Architecture] = {}


def register(architecture: Architecture) -> None:
    """Add a family to those that checkpoints are read of.

    Raises
    ------
    SetunError
        There is one of this `model_type` already.
    """
    if architecture.model_type in _KNOWN:
        raise SetunError("architecture", "must be registered once", architecture.model_type)
    _KNOWN[architecture.model_type] = architecture


def find(model_type: str) -> Architecture:
    """The family of this `model_type`; `SetunError` where there is none."""
    if model_type not in _KNOWN:
        known = ", ".join(sorted(_KNOWN))
        rule = f"must be one of {known}"
        raise SetunError("model_type", rule, model_type[:60], nearest(model_type, _KNOWN))
    return _KNOWN[model_type]


def reading(values: Mapping[str, Any]) -> Architecture | None:
    """The family that a config.json may describe, by its `model_type`; None where there is none."""
    model_type = values.get("model_type")
    for known in _KNOWN.values():
        if model_type == known.model_type or model_type in known.files.also_read:
            return known
    return None


def model_types() -> list[str]:
    """Every `model_type` that config.json may have, sorted."""
    return sorted({name for a in _KNOWN.values() for name in (a.model_type, *a.files.also_read)})


def in_gguf(name: str) -> Architecture | None:
    """The family that GGUF files call `name`; None where there is none."""
    return next((known for known in _KNOWN.values() if name in known.files.gguf), None)


def gguf_names() -> list[str]:
    """Every `general.architecture` that a GGUF file may have, sorted."""
    return sorted(name for known in _KNOWN.values() for name in known.files.gguf)


def names() -> list[str]:
    """Every `model_type`, sorted."""
    return sorted(_KNOWN)


HGRN_BIT = HgrnBit()

for _architecture in (HGRN_BIT, Bitnet()):
    register(_architecture)
