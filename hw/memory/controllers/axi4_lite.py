"""AXI4-Lite slave: the registers through which a processor controls the chip."""

from enum import IntEnum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.hw.memory.controllers.axi4_pins import OKAY, SLVERR, axi4_lite

IDENTITY = int.from_bytes(b"SETU", "little")
VERSION = 1  # of the register map
PAGE = 12  # address bits that WEIGHT_BASE ignores


class Register(IntEnum):
    """Byte offsets; counter k is at COUNTER + 4 k."""

    IDENTITY = 0x00
    VERSION = 0x04
    CONTROL = 0x08
    STATUS = 0x0C
    WEIGHT_BASE_LOW = 0x10
    WEIGHT_BASE_HIGH = 0x14
    COUNTERS = 0x18
    COUNTER = 0x20


class ControlRegisters(wiring.Component):
    """Identity, control, status, address of the weights, and event counters.

    ================ ====== ====== ================================================
    register         offset access meaning
    ================ ====== ====== ================================================
    IDENTITY         0x00   R      "SETU", first letter in the lowest byte
    VERSION          0x04   R      of this map
    CONTROL          0x08   R/W    bit 0: enable; bit 1: clear the error, reads 0
    STATUS           0x0C   R      bit 0: ready; bit 1: error; bit 2: quiet
    WEIGHT_BASE_LOW  0x10   R/W    address of the weights; its 12 low bits read 0
    WEIGHT_BASE_HIGH 0x14   R/W    its upper 32 bits
    COUNTERS         0x18   R      number of counters
    COUNTER          0x20   R      counter k at 0x20 + 4 k
    ================ ====== ====== ================================================

    Reads of other offsets, and writes of all but R/W registers, answer SLVERR and change
    nothing. Strobes count; the two low address bits do not.

    Parameters
    ----------
    counters
        Number of 32-bit event counters.

    Members
    -------
    axi : In
        See `axi4_lite`. One write and one read at a time; a write waits for address and data.
    status : In
        Fields ready, error, quiet, as read in STATUS.
    counters : In(array of 32-bit counters)
    enable : Out(1), clear : Out(1)
        Bit 0 of CONTROL; a strobe of one cycle when bit 1 is written as 1.
    weight_base : Out(64)

    Latency: 1 cycle from request to response. Throughput: a write in two cycles, a read in one.
    """

    def __init__(self, counters: int) -> None:
        if counters < 1:
            raise ValueError(f"at least one counter: {counters}")
        self.count = counters
        self.address_bits = ceil_log2(Register.COUNTER + 4 * counters)
        super().__init__(
            {
                "axi": In(axi4_lite(self.address_bits)),
                "status": In(data.StructLayout({"ready": 1, "error": 1, "quiet": 1})),
                "counters": In(data.ArrayLayout(32, counters)),
                "enable": Out(1),
                "clear": Out(1),
                "weight_base": Out(64),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _write(self, m: Module) -> None:
        axi = self.axi
        act = Signal()
        # Neither ready comes before both valids: no state but the response's.
        m.d.comb += [
            act.eq(axi.awvalid & axi.wvalid & ~axi.bvalid),
            axi.awready.eq(act),
            axi.wready.eq(act),
        ]
        m.d.sync += self.clear.eq(0)
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(act):
            m.d.sync += [axi.bvalid.eq(1), axi.bresp.eq(OKAY)]
            with m.Switch(axi.awaddr[2:]):
                with m.Case(Register.CONTROL >> 2):
                    with m.If(axi.wstrb[0]):
                        m.d.sync += [self.enable.eq(axi.wdata[0]), self.clear.eq(axi.wdata[1])]
                for half, register in enumerate(
                    (Register.WEIGHT_BASE_LOW, Register.WEIGHT_BASE_HIGH)
                ):
                    with m.Case(register >> 2):
                        word = self.weight_base.word_select(half, 32)
                        m.d.sync += word.eq(self._strobed(word, PAGE if half == 0 else 0))
                with m.Default():
                    m.d.sync += axi.bresp.eq(SLVERR)

    def _strobed(self, old: Value, zeros: int) -> Value:
        lanes = [
            Mux(strobe, self.axi.wdata.word_select(k, 8), old.word_select(k, 8))
            for k, strobe in enumerate(self.axi.wstrb)
        ]
        return Cat(*lanes) & ((1 << 32) - (1 << zeros))

    def _read(self, m: Module) -> None:
        axi = self.axi
        values = {
            Register.IDENTITY: Const(IDENTITY, 32),
            Register.VERSION: Const(VERSION, 32),
            Register.CONTROL: self.enable,
            Register.STATUS: Value.cast(self.status),
            Register.WEIGHT_BASE_LOW: self.weight_base[:32],
            Register.WEIGHT_BASE_HIGH: self.weight_base[32:],
            Register.COUNTERS: Const(self.count, 32),
        }
        offsets = {int(register): value for register, value in values.items()}
        offsets |= {Register.COUNTER + 4 * k: self.counters[k] for k in range(self.count)}
        m.d.comb += axi.arready.eq(~axi.rvalid | axi.rready)
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [axi.rvalid.eq(1), axi.rresp.eq(OKAY)]
            with m.Switch(axi.araddr[2:]):
                for offset, value in offsets.items():
                    with m.Case(offset >> 2):
                        m.d.sync += axi.rdata.eq(value)
                with m.Default():
                    m.d.sync += [axi.rdata.eq(0), axi.rresp.eq(SLVERR)]
