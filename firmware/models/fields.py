"""Typed access to config.json; JSON's true is no integer and "64" is no number."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from setun.firmware.errors import SetunError


class Fields:
    """The fields of a config.json, or of another `source`, each checked when it is asked for.

    Every method raises `SetunError` for a value that breaks its rule.
    """

    def __init__(self, values: Mapping[str, Any], source: str = "config.json") -> None:
        self.values = values
        self.source = source

    def refuse(self, name: str, rule: str, fix: str = "") -> NoReturn:
        """Raise `SetunError` for a field, showing what it has."""
        found = json.dumps(self.values.get(name))
        raise SetunError(f"{self.source} {name}", rule, found[:60], fix)

    def boolean(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            self.refuse(name, "must be true or false")
        return value

    def integer(self, name: str, default: int, limit: int) -> int:
        """A whole number from 1 to `limit`."""
        value = self.values.get(name, default)
        if type(value) is not int or not 1 <= value <= limit:
            self.refuse(name, f"must be a whole number from 1 to {limit}")
        return int(value)

    def real(self, name: str, default: float, limit: float = 1e6) -> float:
        """A number above 0 and below `limit`."""
        value = self.values.get(name, default)
        if type(value) not in (int, float) or not 0 < value < limit:
            self.refuse(name, "must be a number above 0")
        return float(value)
