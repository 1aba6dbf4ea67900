"""Quad SPI NOR flash parts: figures of their datasheets, and the pins of a controller."""

from dataclasses import dataclass

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

PAGE = 256  # bytes of a page program


@dataclass(frozen=True, kw_only=True)
class QuadEnable:
    """Where a part keeps the bit that turns WP# and HOLD# into data pins.

    Members
    -------
    read, write
        Opcodes of the register it is in, a byte.
    bit
        Its mask.
    """

    read: int
    write: int
    bit: int


STATUS_1 = QuadEnable(read=0x05, write=0x01, bit=0x40)
STATUS_2 = QuadEnable(read=0x35, write=0x31, bit=0x02)


@dataclass(frozen=True, kw_only=True)
class FlashPart:
    """One part with 24-bit addresses.

    Members
    -------
    capacity
        Bytes.
    quad_enable
        None when the part is always quad.
    dummy
        Cycles between the mode byte and the data of 0xEB, as the part leaves its factory.
    deselect_ns
        tSHSL, the longest of its values: how long CS# stays high.
    settle_us
        At least tRES1, and the recovery from a software reset while nothing is written.
    sck_hz
        A clock that 0xEB stands with these dummy cycles; parts may allow more.
    """

    name: str
    capacity: int
    quad_enable: QuadEnable | None
    sck_hz: float
    dummy: int = 4
    deselect_ns: float = 50.0
    settle_us: float = 100.0


PARTS = {
    part.name: part
    for part in (
        FlashPart(name="W25Q32JV", capacity=4 << 20, quad_enable=STATUS_2, sck_hz=104e6),
        FlashPart(name="W25Q128JV", capacity=16 << 20, quad_enable=STATUS_2, sck_hz=104e6),
        FlashPart(name="IS25LP128F", capacity=16 << 20, quad_enable=STATUS_1, sck_hz=80e6),
        FlashPart(name="MX25L12833F", capacity=16 << 20, quad_enable=STATUS_1, sck_hz=80e6),
    )
}


def flash_pins() -> wiring.Signature:
    """Members, as the controller has them.

    sck, cs_n : Out(1)
    io_o, io_oe : Out(4)
        Enables are per pin: of WP# (2) and HOLD# (3) too, which are driven high beside commands.
    io_i : In(4)
    """
    return wiring.Signature(
        {
            "sck": Out(1),
            "cs_n": Out(1, init=1),
            "io_o": Out(4, init=0b1111),
            "io_oe": Out(4, init=0b1101),
            "io_i": In(4),
        }
    )
