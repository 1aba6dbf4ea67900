"""A board, as the build flow needs to know it."""

from collections.abc import Mapping
from typing import Any, Protocol

from setun.hw.fpga.family import Family


class Board(Protocol):
    """What the build flow asks of a board; `setun.boards.Board` is one."""

    @property
    def name(self) -> str: ...

    @property
    def fpga(self) -> Family: ...

    @property
    def device(self) -> str: ...

    @property
    def package(self) -> str: ...

    @property
    def speed(self) -> str: ...

    @property
    def clock_mhz(self) -> float: ...

    @property
    def capacity(self) -> Mapping[str, int]: ...

    @property
    def uart(self) -> str: ...

    def load_platform(self) -> Any: ...
