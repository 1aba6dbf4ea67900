"""AXI4-Lite slave: the link's bytes for a processor beside the chip, in place of the UART."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.link.mailbox import DEPTH, IDENTITY, MOST, VERSION, Register
from setun.hw.memory.controllers.axi4_pins import OKAY, SLVERR, axi4_lite

ADDRESS_BITS = ceil_log2(max(Register) + 4)
_FIRST = 8  # bit of a word at which its bytes begin


class Mailbox(wiring.Component):
    """Bytes in and out of the link by words of up to three.

    ======== ====== ====== ===========================================================
    register offset access meaning
    ======== ====== ====== ===========================================================
    IDENTITY 0x00   R      "SETM", first letter in the lowest byte
    VERSION  0x04   R      of this map
    STATUS   0x08   R      bits 15:0: bytes that wait for the host; bits 31:16: `room`
    WRITE    0x0C   W      bits 1:0: n bytes for the chip; bits 31:8: these
    READ     0x10   R      the same of bytes for the host, which are then gone; n may be 0
    ======== ====== ====== ===========================================================

    No byte is lost: the link waits while `depth` bytes wait for the host, and a WRITE while bytes
    of the one before are on their way. A frame for which there is no room is refused as on a UART,
    but a host that looks at the room first never meets that. Reads of other offsets, and writes of
    anything but whole words to WRITE, answer SLVERR and change nothing. The two low address bits
    do not count.

    Parameters
    ----------
    depth
        Bytes that wait for the host at most, but for those at hand.

    Members
    -------
    axi : In
        See `axi4_lite`. One write and one read at a time; a write waits for address and data.
    o : Out(stream of 8)
        Bytes from the host.
    i : In(stream of 8)
        Bytes for it.
    room : In(16)
        Bytes that the link has room for behind those on their way, up to three of which may not be
        counted yet.

    Latency: 1 cycle from request to response, for a WRITE up to three more where `o` is always
    ready; three cycles from `i` to READ. Throughput: a byte a cycle each way, a read a cycle.
    """

    def __init__(self, depth: int = DEPTH) -> None:
        self.depth = depth
        super().__init__(
            {
                "axi": In(axi4_lite(ADDRESS_BITS)),
                "o": Out(stream.Signature(8)),
                "i": In(stream.Signature(8)),
                "room": In(16),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _write(self, m: Module) -> None:
        axi = self.axi
        act, here, fits = Signal(), Signal(), Signal()
        held, left = Signal(8 * MOST), Signal(range(MOST + 1))
        word = axi.wdata
        m.d.comb += [
            here.eq(axi.awaddr[2:] == Register.WRITE >> 2),
            fits.eq(axi.wstrb.all()),
            # Neither ready comes before both valids: no state but the response's.
            act.eq(axi.awvalid & axi.wvalid & ~axi.bvalid & ((left == 0) | ~here)),
            axi.awready.eq(act),
            axi.wready.eq(act),
            self.o.valid.eq(left != 0),
            self.o.payload.eq(held[:8]),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [left.eq(left - 1), held.eq(held >> 8)]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(act):
            m.d.sync += [axi.bvalid.eq(1), axi.bresp.eq(SLVERR)]
            with m.If(here & fits):
                m.d.sync += [
                    axi.bresp.eq(OKAY),
                    left.eq(word[: len(left)]),
                    held.eq(word[_FIRST:]),
                ]

    def _read(self, m: Module) -> None:
        axi = self.axi
        m.submodules.waiting = waiting = fifo.SyncFIFOBuffered(width=8, depth=self.depth)
        # Up to three bytes at hand: a read takes them all.
        held, count = Signal(8 * MOST), Signal(range(MOST + 1))
        kept, taken, pull = Signal.like(count), Signal(), Signal()
        m.d.comb += [
            waiting.w_data.eq(self.i.payload),
            waiting.w_en.eq(self.i.valid),
            self.i.ready.eq(waiting.w_rdy),
            kept.eq(Mux(taken, 0, count)),
            pull.eq(waiting.r_rdy & (kept != MOST)),
            waiting.r_en.eq(pull),
        ]
        m.d.sync += count.eq(kept + pull)
        with m.If(taken):
            m.d.sync += held.eq(0)
        with m.If(pull):
            m.d.sync += held.word_select(kept, 8).eq(waiting.r_data)
        values = {
            Register.IDENTITY: Const(IDENTITY, 32),
            Register.VERSION: Const(VERSION, 32),
            Register.STATUS: Cat((waiting.level + count)[:16] | Const(0, 16), self.room),
            Register.READ: Cat(count, Const(0, _FIRST - len(count)), held),
        }
        m.d.comb += axi.arready.eq(~axi.rvalid | axi.rready)
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [axi.rvalid.eq(1), axi.rresp.eq(OKAY)]
            with m.Switch(axi.araddr[2:]):
                for register, value in values.items():
                    with m.Case(register >> 2):
                        m.d.sync += axi.rdata.eq(value)
                        if register is Register.READ:
                            m.d.comb += taken.eq(1)
                with m.Default():
                    m.d.sync += [axi.rdata.eq(0), axi.rresp.eq(SLVERR)]
