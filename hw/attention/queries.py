"""Codes of the queries that are attended for at once."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import memory

from setun.firmware.config import ChipConfig
from setun.hw.attention.cache import LATENCY
from setun.hw.attention.sizes import parts_of
from setun.hw.pipeline import delayed


def coded_queries(
    m: Module,
    config: ChipConfig,
    write: Value,
    query: Value,
    word: Value,
    codes: Value,
    part: Value,
) -> Value:
    """Words `part` of all queries, when the cache's are there; one is written."""
    found = []
    parts = parts_of(config)
    for g in range(config.queries):
        mine = write & (query == g)
        if parts == 1:
            kept = Signal(len(codes), name=f"query{g}")
            with m.If(mine):
                m.d.sync += kept.eq(codes)
            found.append(kept)
            continue
        m.submodules[f"queries{g}"] = store = memory.Memory(shape=len(codes), depth=parts, init=[])
        put, get = store.write_port(), store.read_port()
        m.d.comb += [put.en.eq(mine), put.addr.eq(word), put.data.eq(codes)]
        m.d.comb += get.addr.eq(part)
        found.append(delayed(m, get.data, LATENCY - 1, f"query{g}"))
    return Cat(*found)
