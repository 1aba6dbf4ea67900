"""Members that the link shows to the core."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

BUS_REQUEST = data.StructLayout({"write": 1, "space": 3, "address": 32, "data": 32})
GENERATE = data.StructLayout({"count": 16, "greedy": 1, "inv_temperature": 32, "seed": 32})
TOKEN = data.StructLayout({"token": 16, "context": 2})
DONE = data.StructLayout({"reason": 8, "tokens": 16, "cycles": 32, "context": 2})


def text_members(small: bool = False) -> dict[str, wiring.Member]:
    """The terminal's read port of the space TEXT; a word comes up to three cycles later.

    In a small chip when `text_found` strobes, the address and `text_wanted` held till then.
    """
    asking = {"text_wanted": Out(1), "text_found": In(1)} if small else {}
    return {"text_address": Out(10), "text": In(9), **asking}


def core_members(
    counters: int, terminal: bool = False, small: bool = False
) -> dict[str, wiring.Member]:
    """Members towards the core, shared by `CommandProcessor` and `Link` (documented there)."""
    return {
        **(text_members(small) if terminal else {}),
        "bus_req": Out(stream.Signature(BUS_REQUEST)),
        "bus_rsp": In(stream.Signature(32)),
        "context": Out(2),
        "prompt": Out(stream.Signature(16)),
        "prompt_space": In(8),
        "generate": Out(stream.Signature(GENERATE)),
        "stop": Out(1),
        "reset_state": Out(1),
        "token": In(stream.Signature(TOKEN)),
        "done": In(stream.Signature(DONE)),
        "running": In(1),
        "generating": In(1),
        "occupied": In(1),
        "counters": In(data.ArrayLayout(32, counters)),
    }
