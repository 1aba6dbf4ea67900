"""Drivers of `amaranth.lib.stream` ports with random stalls."""

from collections.abc import Iterable, Mapping
from typing import Any

import cocotb
from amaranth.lib import data
from cocotb.triggers import FallingEdge, ReadOnly

from bench import context

Word = int | Mapping[str, Any]


class Handshake(AssertionError):
    """A source changed its payload or dropped `valid` before `ready` took it."""


def pack(layout: data.Layout | None, word: Word) -> int:
    """A payload as the integer on the wires; mappings need the payload's layout."""
    if isinstance(word, int):
        return word
    if layout is None:
        raise TypeError("a payload given by field needs layout=")
    return int(layout.const(word).as_bits())


def unpack(layout: data.Layout | None, word: int) -> Any:
    """A payload as the integer itself, or a dictionary of its fields when a layout is given."""
    return word if layout is None else _plain(layout.from_bits(word))


def _plain(value: Any) -> Any:
    if not isinstance(value, data.Const):
        return value
    layout = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [_plain(value[i]) for i in range(layout.length)]
    return {name: _plain(value[name]) for name, _ in layout}


class _Port:
    """Handles of one stream port and its stall generator."""

    def __init__(
        self, dut: Any, name: str, *, stall: float, layout: data.Layout | None, clock: str
    ) -> None:
        self.name = name
        self.stall = stall
        self.layout = layout
        self.random = context.generator(f"stream {name}")
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        # A payload without bits has no port.
        self.payload = getattr(dut, f"{name}__payload", None)
        self.edge = FallingEdge(getattr(dut, clock))
        cocotb.log.info("stream %s: stall %.2f, seed %d", name, stall, context.seed())

    def stalls(self) -> bool:
        return self.stall > 0 and self.random.random() < self.stall


class StreamSource(_Port):
    """Drives an input stream of the device.

    Parameters
    ----------
    dut
        Top level of the simulation.
    name
        Stream member, such as `i` for ports `i__payload`, `i__valid`, `i__ready`.
    stall
        Probability in [0, 1) that a cycle offers nothing.
    layout
        Payload layout, to give words as mappings of fields.
    """

    def __init__(
        self,
        dut: Any,
        name: str = "i",
        *,
        stall: float = 0.0,
        layout: data.Layout | None = None,
        clock: str = "clk",
    ) -> None:
        super().__init__(dut, name, stall=stall, layout=layout, clock=clock)
        self.valid.value = 0

    async def send(self, words: Iterable[Word]) -> None:
        """Hand over every word; starts and returns on a falling edge."""
        for word in words:
            while self.stalls():
                await self.edge
            if self.payload is not None:
                self.payload.value = pack(self.layout, word)
            self.valid.value = 1
            taken = False
            while not taken:
                await ReadOnly()
                taken = bool(self.ready.value)
                await self.edge
            self.valid.value = 0


class StreamSink(_Port):
    """Takes from an output stream of the device, and checks that it keeps the handshake.

    Parameters as of `StreamSource`; `stall` is the probability that a cycle is not ready.
    """

    def __init__(
        self,
        dut: Any,
        name: str = "o",
        *,
        stall: float = 0.0,
        layout: data.Layout | None = None,
        clock: str = "clk",
    ) -> None:
        super().__init__(dut, name, stall=stall, layout=layout, clock=clock)
        self.ready.value = 0
        self._offered: int | None = None

    async def receive(self, count: int, *, limit: int = 1_000_000) -> list[Any]:
        """The next `count` words; starts and returns on a falling edge.

        AssertionError when they do not come within `limit` cycles.
        """
        words: list[Any] = []
        for _ in range(limit):
            if len(words) == count:
                return words
            ready = not self.stalls()
            self.ready.value = int(ready)
            await ReadOnly()
            word = self._look()
            if ready and word is not None:
                words.append(unpack(self.layout, word))
                self._offered = None
            await self.edge
            self.ready.value = 0
        raise AssertionError(f"stream {self.name}: {len(words)} of {count} words in {limit} cycles")

    def _look(self) -> int | None:
        """The payload offered now; Handshake when it differs from one not yet taken."""
        word = None
        if self.valid.value:
            word = 0 if self.payload is None else int(self.payload.value)
        if self._offered is not None and word != self._offered:
            change = "dropped valid" if word is None else f"changed to 0x{word:x}"
            raise Handshake(f"stream {self.name}: offered 0x{self._offered:x}, then {change}")
        self._offered = word
        return word
