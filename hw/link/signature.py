"""Members that the link shows to the core."""

from dataclasses import dataclass

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.link.messages import MAX_CONTEXTS, TOKEN_BYTES

BUS_REQUEST = data.StructLayout({"write": 1, "space": 3, "address": 32, "data": 32})
GENERATE = data.StructLayout(
    {"count": 16, "greedy": 1, "inv_temperature": 32, "seed": 32, "ends": 1}
)
DONE = data.StructLayout({"reason": 8, "tokens": 16, "cycles": 32, "context": 2})


@dataclass(frozen=True, kw_only=True)
class Ties:
    """How a core is tied to the link.

    Parameters
    ----------
    counters
        Event counters of 32 bits, ≤ 59.
    contexts
        Conversations, ≤ 4.
    terminal
        Whether a person at a terminal may take the host's place.
    ends
        Tokens that the core can know as ends of a text.
    shared
        Whether others read the memory of the space TEXT too: its words come on request, and the
        core tells the link when a time has passed, see `setun.hw.link.sharing.LineSharing`.
    token_bits
        Of a token, one of `setun.firmware.link.messages.TOKEN_BYTES`.
    """

    counters: int = 0
    contexts: int = 1
    terminal: bool = False
    ends: int = 0
    shared: bool = False
    token_bits: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.counters <= 59:
            raise ValueError(f"at most 59 counters fit a frame: {self.counters}")
        if not 1 <= self.contexts <= MAX_CONTEXTS:
            raise ValueError(f"from 1 to {MAX_CONTEXTS} contexts: {self.contexts}")

    @property
    def token_bytes(self) -> int:
        """Of a token in a frame."""
        return TOKEN_BYTES[self.token_bits]


def token_layout(bits: int) -> data.StructLayout:
    """A sampled token and whose it is."""
    return data.StructLayout({"token": bits, "context": 2})


def text_members(shared: bool = False) -> dict[str, wiring.Member]:
    """The terminal's read port of the space TEXT; a word comes up to three cycles later.

    If `shared`, when `text_found` strobes, the address and `text_wanted` held till then.
    """
    asking = {"text_wanted": Out(1), "text_found": In(1)} if shared else {}
    return {"text_address": Out(10), "text": In(9), **asking}


def core_members(ties: Ties) -> dict[str, wiring.Member]:
    """Members of the link towards the core, documented in `setun.hw.link.link.Link`."""
    members = text_members(ties.shared) if ties.terminal else {}
    if ties.terminal and ties.shared:
        members["strobe"] = In(1)
    return {**members, **frame_members(ties)}


def frame_members(ties: Ties) -> dict[str, wiring.Member]:
    """Members of `core_members` that commands and events go through."""
    return {
        "bus_req": Out(stream.Signature(BUS_REQUEST)),
        "bus_rsp": In(stream.Signature(32)),
        "context": Out(2),
        "prompt": Out(stream.Signature(ties.token_bits)),
        "prompt_space": In(8),
        "generate": Out(stream.Signature(GENERATE)),
        "end_tokens": Out(8 * ties.token_bytes * ties.ends),
        "stop": Out(1),
        "reset_state": Out(1),
        "token": In(stream.Signature(token_layout(ties.token_bits))),
        "done": In(stream.Signature(DONE)),
        "running": In(1),
        "generating": In(1),
        "occupied": In(1),
        "counters": In(data.ArrayLayout(32, ties.counters)),
    }
