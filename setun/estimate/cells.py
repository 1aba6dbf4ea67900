"""LUT4, flip-flops and multipliers of a chip, without a tool.

Each unit is a sum of terms that stand for something in it: a MAC of the array, a lane, a seat, a
bit that is unpacked. How many cells a term costs is fitted, by least squares, to the units that
`setun.estimate.measure` has synthesised. Block RAM is counted, see `setun.hw.emit.resources`.
"""

import json
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from setun.estimate.designs import design_config
from setun.estimate.memories import TERMS, memory_estimate
from setun.firmware.config import ChipConfig
from setun.firmware.numerics.options import SEGMENTS

KINDS = ("multipliers", "luts", "registers")
Terms = dict[str, float]


def _offsets(c: ChipConfig) -> float:
    """Offsets that L-Mul chooses from, in those of three bits of each mantissa."""
    segments = c.numerics.segments
    return 4.0 ** (segments - SEGMENTS) if segments else 0.0


def _array(c: ChipConfig) -> Terms:
    fp8 = c.numerics.fp8
    bits = c.macs * c.numerics.code_bits
    # Distributed RAM of 16 words for the partial sums of a panel, of each seat in shared order.
    depth = c.panel * (c.contexts if c.shares_weights else 1)
    return {
        "control": 1,
        "a bit of a MAC": bits / c.pump,
        "a bit of a row's sum": c.rows * c.sum_width,
        "partial sums beyond 16 words": c.rows * c.sum_width * (-(-depth // 16) - 1),
        "five weights of a byte": c.macs / c.pump * (c.packing == "1.6b"),
        "pumping a MAC": c.macs * (c.pump - 1),
        "pumping a row": c.rows * (c.pump - 1),
        "rounding a row": c.rows * fp8,
        "five-trit weights": c.five_trits,
    }


def _quantiser(c: ChipConfig) -> Terms:
    lanes = c.lanes
    return {
        "control": 1,
        "lane": lanes,
        "seat": c.contexts - 1,
        "column of a slot's word": c.columns,
        "seats share weights": c.shares_weights,
        "lane with L-Mul": lanes * c.numerics.lmul,
        "lane with segments": lanes * _offsets(c),
        "lane with fp8": lanes * c.numerics.fp8,
    }


def _sink(c: ChipConfig) -> Terms:
    lanes = c.lanes
    return {
        "control": 1,
        "lane": lanes,
        "seat": c.contexts - 1,
        "row to choose from": c.rows,
        "seats share weights": c.shares_weights,
        "lane with L-Mul": lanes * c.numerics.lmul,
        "lane with segments": lanes * _offsets(c),
        "lane with fp8": lanes * c.numerics.fp8,
        "lane with noise": lanes * c.numerics.stochastic,
        "lane with five-trit weights": lanes * c.five_trits,
    }


def _sampler(c: ChipConfig) -> Terms:
    has = {"L-Mul": c.numerics.lmul, "segments": _offsets(c)}
    return {"control": 1, "lane": c.lanes, "seat": c.contexts - 1, **has}


def _seats(c: ChipConfig) -> Terms:
    return {"control": 1, "seat": c.contexts - 1}


def _sequencer(c: ChipConfig) -> Terms:
    return {**_seats(c), "streamed": c.streams}


def _fetch(c: ChipConfig) -> Terms:
    return {"control": not c.streams}


def _link(c: ChipConfig) -> Terms:
    return {**_seats(c), "terminal": c.terminal}


def _memories(c: ChipConfig) -> Terms:
    on_chip = not c.streams
    return {
        "control": 1,
        "lane": c.lanes,
        "seat": c.contexts - 1,
        "weights on the chip": on_chip,
        "bit of a weight word": c.weight_bits * on_chip,
        "terminal": c.terminal,
    }


def _outside(c: ChipConfig) -> Terms:
    if not c.streams:
        return {}
    mine = memory_estimate(c).term
    known: Terms = {term: term == mine for term in TERMS}
    lanes = {"lane": c.lanes, "seat": c.contexts - 1}
    return {**known, **lanes, "bit of a weight word": c.weight_bits, "bit of a beat": c.beat}


def _attention(c: ChipConfig) -> Terms:
    has = int(c.attention > 0)
    lmul = has * c.numerics.lmul
    return {
        "control": has,
        "lane": has * c.lanes,
        "code": c.attention,
        "query": has * c.queries,
        "product": c.attention * c.queries * has,
        "seat": has * (c.contexts - 1),
        "cache outside": c.outer_cache * has,
        "norms": c.head_norms * has,
        "lane with norms": c.head_norms * has * c.lanes,
        "L-Mul": lmul,
        "query with L-Mul": lmul * c.queries,
        "product with L-Mul": lmul * c.attention * c.queries,
        "lane with L-Mul": lmul * c.lanes,
        "lane with norms by L-Mul": lmul * c.head_norms * c.lanes,
        "lane that turns exactly": lmul * c.lanes * (not c.numerics.lmul_in_rope),
    }


UNITS: dict[str, Callable[[ChipConfig], Terms]] = {
    "array": _array,
    "quantiser": _quantiser,
    "sink": _sink,
    "sampler": _sampler,
    "sequencer": _sequencer,
    "fetch": _fetch,
    "generation": _seats,
    "link": _link,
    "memories": _memories,
    "outside": _outside,
    "attention": _attention,
}


def data(name: str) -> Any:
    """What `setun.estimate.measure` wrote into a file beside this one."""
    return json.loads(resources.files(__package__).joinpath(name).read_text("utf-8"))


@cache
def prices() -> dict[str, dict[str, dict[str, float]]]:
    """Cells of each kind that a term costs: unit, kind, term. Of equally good ones the smallest."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    rows = data("units.json")
    for unit, terms_of in UNITS.items():
        mine = [row for row in rows if row["unit"] == unit]
        terms = [terms_of(design_config(row["options"])) for row in mine]
        names = list(terms[0])
        matrix = np.array([[float(t[name]) for name in names] for t in terms])
        # Relative errors count, and terms of different size are alike.
        size = np.maximum(abs(matrix).max(0), 1.0)
        found[unit] = {}
        for kind in KINDS:
            cells = np.array([float(row[kind]) for row in mine])
            weight = 1 / np.maximum(cells, 1.0)
            solved = np.linalg.lstsq(matrix / size * weight[:, None], cells * weight, rcond=1e-9)[0]
            values = (solved / size).round(4)
            found[unit][kind] = dict(zip(names, map(float, values), strict=True))
    return found


def unit_cells(config: ChipConfig) -> dict[str, dict[str, int]]:
    """Cells of each unit, by kind."""
    found = {}
    for unit, terms_of in UNITS.items():
        terms = terms_of(config)
        found[unit] = {
            kind: round(sum(price[term] * n for term, n in terms.items()))
            for kind, price in prices()[unit].items()
        }
    return found
