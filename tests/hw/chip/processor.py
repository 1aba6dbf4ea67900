"""A chip with a mailbox beside a processor of sorts: each access of its bus comes over a UART.

A compiled simulation has a serial port only; `BusRegisters` are the registers behind it.
"""

import serial
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.hw.chip import Chip
from setun.hw.link.mailbox import ADDRESS_BITS
from setun.hw.link.uart import UartReceiver, UartTransmitter
from setun.hw.memory.controllers.axi4_pins import OKAY, axi4_lite
from setun.sim.memories.kinds import memory_model
from setun.sim.simulator.dot import SIMULATOR

WRITE = 0x80  # of an access's first byte, beside the offset


class Bus(wiring.Component):
    """Accesses on AXI4-Lite, each channel held back at random.

    Members: `i` takes an offset, with WRITE and four bytes behind it for a write; `o` gives the
    response and four bytes of every read. `refused` stays once a write was.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    axi: Out(axi4_lite(ADDRESS_BITS))
    refused: Out(1)

    def __init__(self, seed: int) -> None:
        self.seed = seed
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        noise = Signal(32, init=self.seed)
        m.d.sync += noise.eq(Cat(noise[31] ^ noise[21] ^ noise[1] ^ noise[0], noise[:31]))
        offset, word, count = Signal(ADDRESS_BITS), Signal(32), Signal(3)
        waits = {name: Signal(name=f"{name}_waits") for name in ("aw", "w", "ar")}
        valids = {"aw": axi.awvalid, "w": axi.wvalid, "ar": axi.arvalid}
        readies = {"aw": axi.awready, "w": axi.wready, "ar": axi.arready}
        for bit, (name, waiting) in enumerate(waits.items()):
            # A request that was made stays until it is taken.
            with m.If(valids[name]):
                with m.If(readies[name]):
                    m.d.sync += valids[name].eq(0)
            with m.Elif(waiting & noise[3 * bit]):
                m.d.sync += [valids[name].eq(1), waiting.eq(0)]
        m.d.comb += [
            axi.awaddr.eq(offset),
            axi.araddr.eq(offset),
            axi.wdata.eq(word),
            axi.wstrb.eq(0xF),
            axi.bready.eq(noise[12]),
            axi.rready.eq(noise[17]),
        ]
        with m.FSM():
            with m.State("OFFSET"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += count.eq(0)
                with m.If(self.i.valid):
                    m.d.sync += offset.eq(self.i.payload)
                    m.next = "READ"
                    m.d.sync += waits["ar"].eq(1)
                    with m.If(self.i.payload & WRITE):
                        m.d.sync += waits["ar"].eq(0)
                        m.next = "WORD"
            with m.State("WORD"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [word.eq(Cat(word[8:], self.i.payload)), count.eq(count + 1)]
                    with m.If(count == 3):
                        m.d.sync += [waits["aw"].eq(1), waits["w"].eq(1)]
                        m.next = "WRITE"
            with m.State("WRITE"):
                with m.If(axi.bvalid & axi.bready):
                    m.d.sync += self.refused.eq(self.refused | (axi.bresp != OKAY))
                    m.next = "OFFSET"
            with m.State("READ"):
                with m.If(axi.rvalid & axi.rready):
                    m.d.sync += word.eq(axi.rdata)
                    m.next = "RESPONSE"
                    m.d.sync += offset.eq(axi.rresp | (self.refused << 2))
            with m.State("RESPONSE"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(Mux(count == 0, offset, word[:8])),
                ]
                with m.If(self.o.ready):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count != 0):
                        m.d.sync += word.eq(word >> 8)
                    with m.If(count == 4):
                        m.next = "OFFSET"
        return m


class Board(wiring.Component):
    """The chip, its memory where that is outside, and the bus; `rx`, `tx` as of a chip."""

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(self, config: ChipConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.chip = chip = Chip(self.config, technology=SIMULATOR)
        m.submodules.bus = bus = Bus(self.seed)
        m.submodules.receiver = receiver = UartReceiver(self.config.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.config.divisor)
        m.submodules.come = come = fifo.SyncFIFOBuffered(width=8, depth=64)
        wiring.connect(m, receiver.o, come.w_stream)
        wiring.connect(m, come.r_stream, bus.i)
        wiring.connect(m, bus.o, transmitter.i)
        wiring.connect(m, bus.axi, chip.host)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        if self.config.external:
            model = memory_model(self.config)
            m.submodules.memory = memory = model.component(self.config)
            model.connect(m, self.config, chip.memory, memory)
        return m


class BusRegisters:
    """What `setun.firmware.link.mailbox.Registers` has, through a `Board`'s serial port."""

    def __init__(self, port: serial.Serial) -> None:
        self._port = port
        self._port.timeout = 30

    def read(self, offset: int, /) -> int:
        self._port.write(bytes((offset,)))
        response, *word = self._port.read(5)
        assert response == OKAY, f"response {response} at {offset:#x}"
        return int.from_bytes(bytes(word), "little")

    def write(self, offset: int, value: int, /) -> None:
        self._port.write(bytes((WRITE | offset,)) + value.to_bytes(4, "little"))

    def close(self) -> None:
        self._port.close()
