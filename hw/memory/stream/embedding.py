"""Embedding rows of an external memory into vector memory."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.hw.commands import embed_command
from setun.hw.instruction import shape
from setun.hw.memory.controllers.gearbox import Gearbox
from setun.hw.memory.stream.row_reader import row_command
from setun.hw.memory.stream.unit_store import CONTAINER
from setun.hw.seats import pass_layout, within, workspaces


class EmbeddingCopier(wiring.Component):
    """Asks for a row and writes it, a vector word a cycle at best.

    Parameters
    ----------
    config
        The chip.
    beat, address_bits
        Of the memory.

    Members
    -------
    embed : In(stream of `setun.hw.commands.embed_command`)
        Taken when the whole row is in vector memory.
    seating : In
        Who sits where; see `setun.hw.seats.pass_layout`.
    row : Out(stream of `row_command`), i : In(stream of `beat` bits)
        Of a `RowReader`. Numbers take 32 bits each; a row begins with a beat.
    write : Out(1), address : Out, data : Out(V numbers)
        Vector memory's write port: strobe, word, contents.

    Beats that come while no row is wanted are dropped.
    """

    def __init__(self, config: ChipConfig, beat: int, address_bits: int) -> None:
        self.config, self.beat = config, beat
        super().__init__(
            {
                "embed": In(stream.Signature(embed_command(config))),
                "seating": In(pass_layout(config)),
                "row": Out(stream.Signature(row_command(address_bits))),
                "i": In(stream.Signature(beat)),
                "write": Out(1),
                "address": Out(shape(config, "src")),
                "data": Out(config.vector.width * config.lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        wanted = self.embed.payload
        m.submodules.gearbox = gearbox = Gearbox(self.beat, CONTAINER * c.lanes)
        wiring.connect(m, wiring.flipped(self.i), gearbox.i)
        asked, done = Signal(), Signal()
        copied = Signal(17)
        numbers = [gearbox.o.payload.word_select(k, CONTAINER) for k in range(c.lanes)]
        local = wanted.destination + copied
        workspace = self.seating.seats[wanted.seat].workspace
        # A row ends with a beat, and its last words with zeros that nobody wants.
        surplus = copied >= wanted.words
        words = Signal(17)
        m.d.comb += [
            self.row.payload.address.eq(wanted.first),
            self.row.payload.beats.eq(wanted.beats),
            self.row.valid.eq(self.embed.valid & ~asked),
            gearbox.o.ready.eq(1),
            self.write.eq(gearbox.o.valid & self.embed.valid & ~surplus),
            self.address.eq(within(local, c.vector_words, workspace, workspaces(c))),
            self.data.eq(Cat(n[: c.vector.width] for n in numbers)),
            self.embed.ready.eq(done),
            done.eq(asked & (copied == words)),
        ]
        # Words of whole beats; a beat of less than a word never ends within one.
        per_beat = self.beat // (CONTAINER * c.lanes)
        m.d.comb += words.eq(wanted.beats * per_beat if per_beat > 1 else wanted.words)
        with m.If(self.row.valid & self.row.ready):
            m.d.sync += asked.eq(1)
        with m.If(gearbox.o.valid & self.embed.valid):
            m.d.sync += copied.eq(copied + 1)
        with m.If(done):
            m.d.sync += [asked.eq(0), copied.eq(0)]
        return m
