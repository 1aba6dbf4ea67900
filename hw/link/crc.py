"""CRC-32 of zlib and Ethernet, a byte per cycle."""

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out


class Crc32(wiring.Component):
    """Running CRC-32, equal to `zlib.crc32` of the bytes since `start`.

    Members
    -------
    start : In(1)
        Begin anew; together with `valid`, `data` is the first byte.
    data : In(8), valid : In(1)
        A byte to take in.
    crc : Out(32)
        Checksum so far, one cycle after the byte.
    match : Out(1)
        The bytes so far end with the CRC of those before it, little endian.

    Latency: 1 cycle. Throughput: a byte per cycle.
    """

    start: In(1)
    data: In(8)
    valid: In(1)
    crc: Out(32)
    match: Out(1)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.engine = engine = CRC32_ISO_HDLC(data_width=8).create()
        m.d.comb += [
            engine.start.eq(self.start),
            engine.data.eq(self.data),
            engine.valid.eq(self.valid),
            self.crc.eq(engine.crc),
            self.match.eq(engine.match_detected),
        ]
        return m
