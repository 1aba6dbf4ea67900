"""Largest values of a vector: what its codes and its block squares are scaled by."""

import numpy as np
from amaranth.hdl import Module, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.formats import Format
from setun.hw.pipeline import delayed, larger, tree, tree_latency
from setun.hw.seats import number


def maxima_layout(fmt: Format) -> data.StructLayout:
    """Magnitude of the largest x*gain; exponents of the largest x*outer and x."""
    return data.StructLayout(
        {
            "largest": unsigned(fmt.width - 1),
            "gained": unsigned(fmt.exponent),
            "own": unsigned(fmt.exponent),
        }
    )


class Maxima(wiring.Component):
    """Keeps the maxima of one vector per seat, V elements per cycle, in any order of seats.

    Members
    -------
    valid : In(1), opens : In(1), closes : In(1), seat : In
        A word of a seat's vector, whether it is its first, its last.
    gained, weighted, own : In(V floats)
        x*gain, x*outer, x.
    complete : Out(one bit per seat)
        A seat's maxima stand; `latency` cycles after its last word, until `take`.
    take : In(1), taken : In
        Strobe: the maxima of seat `taken` are not needed any more.
    maxima : Out(`maxima_layout` per seat)
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.latency = tree_latency(config.lanes) + 1
        words = data.ArrayLayout(config.vector.width, config.lanes)
        super().__init__(
            {
                "valid": In(1),
                "opens": In(1),
                "closes": In(1),
                "seat": In(number(config.contexts)),
                "gained": In(words),
                "weighted": In(words),
                "own": In(words),
                "complete": Out(config.contexts),
                "take": In(1),
                "taken": In(number(config.contexts)),
                "maxima": Out(data.ArrayLayout(maxima_layout(config.vector), config.contexts)),
            }
        )

    def model(self, gained: ArrayLike, weighted: ArrayLike, own: ArrayLike) -> dict[str, int]:
        """Maxima of a vector's bits, see `maxima_layout`."""
        fmt = self.config.vector
        sizes = [np.asarray(x) & ((1 << (fmt.width - 1)) - 1) for x in (gained, weighted, own)]
        tops = [int(size.max()) for size in sizes]
        return {
            "largest": tops[0],
            "gained": tops[1] >> fmt.mantissa,
            "own": tops[2] >> fmt.mantissa,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt, v = self.config.vector, self.config.lanes
        late = self.latency - 1

        def with_rows(value: Value, name: str) -> Value:
            return delayed(m, value, late, name, reset=True)

        valid, seat = with_rows(self.valid, "valid"), with_rows(self.seat, "seat")
        opens, closes = with_rows(self.opens, "opens"), with_rows(self.closes, "closes")
        for name, words, low in (
            ("largest", self.gained, 0),
            ("gained", self.weighted, fmt.mantissa),
            ("own", self.own, fmt.mantissa),
        ):
            sizes = [words[k][low : fmt.width - 1] for k in range(v)]
            best = tree(m, sizes, larger, f"{name}_tree")
            for k in range(self.config.contexts):
                held = getattr(self.maxima[k], name)
                with m.If(valid & (seat == k) & (opens | (best > held))):
                    m.d.sync += held.eq(best)
        for k in range(self.config.contexts):
            with m.If(self.take & (self.taken == k)):
                m.d.sync += self.complete[k].eq(0)
            with m.If(valid & closes & (seat == k)):
                m.d.sync += self.complete[k].eq(1)
        return m
