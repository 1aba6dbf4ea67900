"""How the files of a family of models may differ from the plain layout."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from setun.firmware.models.gguf.container import GgufFile
from setun.firmware.models.gguf.weights import GgufWeights


def _same(name: str) -> str:
    return name


def _none(config: Any) -> Collection[str]:
    return ()


@dataclass(frozen=True)
class Gguf:
    """How GGUF files hold a family.

    values
        What a config.json would say.
    weights
        Tensors under the model's names, by the configuration.
    """

    values: Callable[[GgufFile], Mapping[str, Any]]
    weights: Callable[[GgufFile, Any], GgufWeights]


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is read beside float tensors that have the model's own names.

    also_read
        Other values of `model_type` in config.json that may stand for the family.
    own_name
        The model's name of a tensor as a file has it; "" for one that is no part of the model.
    codes
        Names of tensors that a file has as packed ternary codes, by the configuration: they are
        int8 -1, 0, 1.
    gguf
        How a GGUF file holds it, by the file's `general.architecture`.
    """

    also_read: tuple[str, ...] = ()
    own_name: Callable[[str], str] = _same
    codes: Callable[[Any], Collection[str]] = _none
    gguf: Mapping[str, Gguf] = field(default_factory=dict)
