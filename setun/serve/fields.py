"""Fields of a request's JSON object, each of its own kind."""

from collections.abc import Mapping
from typing import Any

from setun.serve.refusal import Refusal, wrong

_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}


class Fields:
    """A request's body; null counts as left out.

    Every method refuses a value of another kind by the field's name.
    """

    def __init__(self, body: object) -> None:
        if not isinstance(body, dict):
            raise Refusal(400, "the body must be a JSON object")
        self._values: Mapping[str, Any] = body

    def get(self, name: str) -> Any:
        """The value as it came."""
        return self._values.get(name)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self.get(name)
        if value is None:
            return default
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise wrong(name, f"{name} must be a whole number from {low} to {high}")
        return number

    def number(self, name: str, default: float) -> float:
        """A number."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(name, f"{name} must be a number")
        try:
            return float(value)
        except OverflowError:
            raise wrong(name, f"{name} is too large") from None

    def of(self, kind: type, name: str, default: Any = None) -> Any:
        """A value of a type: object, array, string, true or false."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise wrong(name, f"{name} must be {_NAMES[kind]}")
        return value
