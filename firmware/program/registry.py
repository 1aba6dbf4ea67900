"""Tables by operation or kernel: what one layer does for each of them."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from setun.firmware.errors import SetunError


class Named(Protocol):
    """An operation or a kernel."""

    @property
    def name(self) -> str:
        """As in listings."""


Key = TypeVar("Key", bound=Named)
Entry = TypeVar("Entry")


class Registry(dict[Key, Entry]):
    """What a layer does, by operation or kernel; one that it lacks is an error by name.

    Parameters
    ----------
    layer
        The layer's name in errors.
    """

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def __call__(self, key: Key) -> Callable[[Entry], Entry]:
        """Decorator: what it stands at is the entry of `key`."""

        def enter(entry: Entry) -> Entry:
            self[key] = entry
            return entry

        return enter

    def __missing__(self, key: Key) -> Entry:
        raise SetunError(self.layer, "has nothing for it", key.name, f"give {self.layer} one")

    def lacks(self, every: Iterable[Key]) -> list[str]:
        """Names of those among `every` that have no entry."""
        return [key.name for key in every if key not in self]
