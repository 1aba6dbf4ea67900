"""Numeric options of a chip: what a preset or a TOML file may choose, with the same names.

A file has the options at top level::

    vector = [8, 9]   # exponent and mantissa bits of everything outside the ternary array
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from setun.firmware.errors import SetunError
from setun.firmware.formats import Format

FILE_LIMIT = 1 << 16
"""Largest numerics file, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Numeric options of golden model and gateware."""

    vector: Format = field(default_factory=Format)
    """Format of everything outside the ternary array."""

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON or TOML values; `from_dict` is the inverse."""
        return {"vector": [self.vector.exponent, self.vector.mantissa]}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any], source: str = "numerics") -> "Numerics":
        """Options by name, absent ones at their defaults; `source` names them in errors.

        Raises
        ------
        SetunError
            An option is unknown or its value impossible.
        """
        known = cls().to_dict()
        for name in options:
            if name not in known:
                raise SetunError(source, f"options are {', '.join(known)}", f"{str(name)[:40]!a}")
        vector = options.get("vector", known["vector"])
        if not (isinstance(vector, list) and len(vector) == 2
                and all(type(bits) is int for bits in vector)):  # fmt: skip
            raise SetunError(
                f"{source} vector", "must be bits of exponent and mantissa, [8, 9]",
                f"{str(vector)[:40]!a}",
            )  # fmt: skip
        try:
            return cls(vector=Format(*vector))
        except SetunError as error:
            raise SetunError(f"{source} {error.thing}", error.rule, error.value) from error


PRESETS: dict[str, Numerics] = {"default": Numerics()}


def from_file(path: Path) -> Numerics:
    """Options of a TOML file.

    Raises
    ------
    SetunError
        The file cannot be read, is no TOML, or has an unknown option or value.
    """
    try:
        if not path.is_file():
            raise SetunError(
                f"numerics {path}", "must be a preset or a TOML file", "no such file",
                f"presets: {', '.join(PRESETS)}",
            )  # fmt: skip
        if path.stat().st_size > FILE_LIMIT:
            raise SetunError(f"numerics {path}", f"has at most {FILE_LIMIT} bytes")
        options = tomllib.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SetunError(f"numerics {path}", "must be a TOML file", error) from error
    return Numerics.from_dict(options, str(path))


def choose(name: str) -> Numerics:
    """Numerics by preset name, else by the path of a file."""
    return PRESETS[name] if name in PRESETS else from_file(Path(name))
