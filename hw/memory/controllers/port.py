"""The one interface of external memories: what a controller shows to weight DMA and link."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

MAX_BEATS = 256  # beats of one read request


def read_request(address_bits: int) -> data.StructLayout:
    """A burst of `beats` (1 to `MAX_BEATS`) consecutive beats from `address`, in beats."""
    return data.StructLayout({"address": address_bits, "beats": range(MAX_BEATS + 1)})


def bus_request(address_bits: int) -> data.StructLayout:
    """One 32-bit word read or written by the link; `address` in 32-bit words, little-endian."""
    return data.StructLayout({"write": 1, "address": address_bits, "data": 32})


def controller_members(beat: int, capacity: int) -> dict[str, wiring.Member]:
    """Members of every memory controller towards the chip.

    Parameters
    ----------
    beat
        Bits of one beat: what the memory delivers per cycle at best.
    capacity
        Bytes.

    Members
    -------
    read : In(stream of `read_request`)
        Bursts, answered in order; several may be accepted before the first is answered, so that
        row changes and latency hide behind the data before. No burst crosses a boundary of
        `burst` beats, the controller's own figure: a page of a row, 4 KB.
    o : Out(stream of `beat` bits)
        The beats of all bursts, in order. The controller may stop the memory, or hold what is on
        its way, while nobody takes them; none is lost.
    bus_req : In(stream of `bus_request`), bus_rsp : Out(stream of 32 bits)
        The link's access, one at a time; a write has no response, a read one. Reads behind
        writes see them. Used while no burst is pending.
    ready : Out(1)
        The memory has been initialised.
    """
    words = capacity // 4
    beats = capacity * 8 // beat
    return {
        "read": In(stream.Signature(read_request((beats - 1).bit_length()))),
        "o": Out(stream.Signature(beat)),
        "bus_req": In(stream.Signature(bus_request((words - 1).bit_length()))),
        "bus_rsp": Out(stream.Signature(32)),
        "ready": Out(1),
    }
