"""Ternary array: P activations times Q rows of weights in {-1, 0, 1} per cycle."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from numpy.typing import ArrayLike

from setun.firmware.config import SLOTS, ChipConfig
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.five_trits import PLANES
from setun.firmware.numerics.functions import Ints
from setun.hw.arith import whole
from setun.hw.array.accumulate import ChunkFlags, chunk_sums, running_sums
from setun.hw.array.rows import Rows
from setun.hw.commands import array_command
from setun.hw.pipeline import delayed
from setun.hw.seats import number
from setun.hw.technology import GENERIC, Technology

GROUPS = 16  # row groups between issue and sink: what comes while the first scale is computed


class TernaryArray(wiring.Component):
    """Executes matvecs: weights times the oldest slot of codes, Q rows at a time.

    A matvec goes panel by panel of `config.panel` row groups, and through a panel block by block
    of P columns: a block of codes serves all groups of the panel, whose partial sums wait in a
    small memory. So the array starts on a vector's first codes while the last are being made.

    A matvec with `planes` goes row group by row group: the planes of one are a panel of `PLANES`
    groups, whose sums come like others', and a word with its rows' scales follows. The next one's
    is taken when this one has been.

    A matvec is done for every seat of the pass: for one seat after the other, or, where seats
    share the weights, for all seats with each weight word.

    Members
    -------
    command : In(stream of `setun.hw.commands.array_command`)
        A matvec of (last + 1) x Q rows; `keep` leaves the slot for the next one.
    last : In
        Highest seat of the pass.
    filled : In(stream of words)
        Slots in order: words (P codes) of the next one, the same for every seat. Taken by the
        first matvec on it.
    released : Out(1)
        Strobe: the last matvec on the oldest slot is done.
    written : In(1)
        Strobe: the next word of the slots, in order, seat by seat, may be read `early` + 1 cycles
        later.
    code_slot, code_seat, code_address : Out, code_data : In(8 * P)
        Read port of the slot memory, data one cycle later.
    weights : In(stream of `config.weight_bits`)
        Words in execution order; a matvec's words again for every seat, unless seats share them.
    scales : Out(stream of Q numbers)
        Only with `config.five_trits`: of a row group's rows, behind the sums of its planes.
    o : Out(stream of Q signed accumulators)
        Row groups, sums as `config.numerics` wants them, in units of 2**-fraction, in the order of
        `setun.hw.seats.walk`.
    busy, wait_codes, wait_sink, wait_weights : Out(1)
        What the array does this cycle, for counters: at most one is high, none when idle.

    Parameters
    ----------
    technology
        Cells that `Rows` are made of; the sums are the same.
    lead
        Cycles from the transfer of a weight word to its payload. Slots are released as much later,
        and codes read one cycle less, so that they have a register behind their block RAM.

    One word of one seat per cycle unless one of the waits holds it. Latency from the last word of a
    row group to `o`: `lead` + `Rows.latency` + 2 cycles, one more for codes in fp8, and
    `CHUNK_LATENCY` more for sums of chunks.
    """

    def __init__(
        self, config: ChipConfig, technology: Technology = GENERIC, *, lead: int = 0
    ) -> None:
        self.config, self.technology, self.lead = config, technology, lead
        self.early = max(lead - 1, 0)  # cycles from the transfer to the codes' address
        p, q = config.columns, config.rows
        self.sum_width = config.sum_width
        self.groups = data.ArrayLayout(signed(self.sum_width), q)
        super().__init__(
            {
                "command": In(stream.Signature(array_command(config))),
                "last": In(number(config.contexts)),
                "filled": In(stream.Signature(range(config.slot_words + 1))),
                "written": In(1),
                "released": Out(1),
                "code_slot": Out(range(SLOTS)),
                "code_seat": Out(number(config.contexts)),
                "code_address": Out(range(max(config.slot_words, 2))),
                "code_data": In(8 * p),
                "weights": In(stream.Signature(config.weight_bits)),
                **(
                    {"scales": Out(stream.Signature(config.rows * config.vector.width))}
                    if config.five_trits
                    else {}
                ),
                "o": Out(stream.Signature(self.groups)),
                "busy": Out(1),
                "wait_codes": Out(1),
                "wait_sink": Out(1),
                "wait_weights": Out(1),
            }
        )

    def model(self, codes: ArrayLike, weights: ArrayLike) -> Ints:
        """Accumulators [.., rows] of whole-number codes [.., n] and weights [rows, n]."""
        x, w = np.asarray(codes, np.float32), np.asarray(weights, np.float32)
        return np.asarray(Arithmetic(self.config.numerics).sums(x, w.T), np.int64)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        panel_bits = ceil_log2(c.panel)
        slot, seat = Signal.like(self.code_slot), Signal.like(self.code_seat)
        block = Signal.like(self.code_address)
        most = max(c.panel, PLANES) if c.five_trits else c.panel
        group, group_end = Signal(range(most)), Signal(range(most))  # of the panel
        panels = Signal(18 if c.five_trits else 16)  # behind the first one
        panels_left = Signal.like(panels)  # behind this one
        short = Signal(range(most))  # group_end of the last panel
        credit = Signal(range(GROUPS + 1), init=GROUPS)
        active, keep, kept = Signal(), Signal(), Signal()
        last_block = Signal.like(block)
        # What the words of this and of the next cycle need is known in registers.
        first, last, final_panel, first_panel = Signal(), Signal(), Signal(), Signal()
        have, room = Signal(), Signal()

        opening, issue, final, turn = Signal(), Signal(), Signal(), Signal()
        end_of_block, end_of_panel, done, load = Signal(), Signal(), Signal(), Signal()
        release = Signal()
        at_work, over, taking = Signal(), Signal(), Signal()
        planes, scaling, pending = self._planes(m, end_of_block & last, taking, load)
        command, matvec = self.command.payload, self.command.valid
        m.d.comb += [
            opening.eq((group == 0) & first_panel & ~kept),
            final.eq(seat == self.last),  # the last seat
            issue.eq(at_work & (~opening | have) & (~last | room) & self.weights.valid),
            self.busy.eq(issue | taking),
            self.wait_codes.eq(Mux(active, at_work & opening & ~have, matvec)),
            self.wait_sink.eq((at_work & ~(opening & ~have) & last & ~room) | (scaling & pending)),
            self.wait_weights.eq(
                ((at_work & (~opening | have) & (~last | room)) | (scaling & ~pending))
                & ~self.weights.valid
            ),
            turn.eq(issue & (final | (not c.shares_weights))),  # the last use of this word
            self.weights.ready.eq(turn | taking),
            end_of_block.eq(turn & (group == group_end)),
            done.eq(end_of_panel & final_panel),
            release.eq(over & ~keep),
            self.released.eq(delayed(m, release, self.lead, "release", reset=True)),
            load.eq(matvec & (Mux(active, keep, kept) | self.filled.valid) & (~active | over)),
            self.command.ready.eq(load),
            self.filled.ready.eq(load & ~Mux(active, keep, kept)),
        ]
        m.d.comb += [
            at_work.eq(active & ~scaling),
            end_of_panel.eq(Mux(planes, taking, end_of_block & last)),
            over.eq(done & (final | (planes & bool(c.shares_weights)))),
        ]
        with m.If(turn):
            m.d.sync += group.eq(Mux(end_of_block, 0, group + 1))
        with m.If(end_of_block):
            m.d.sync += [
                block.eq(Mux(last, 0, block + 1)),
                first.eq(last),
                last.eq(Mux(last, last_block == 0, block + 1 == last_block)),
            ]
        with m.If(end_of_panel):
            m.d.sync += [
                panels_left.eq(Mux(final_panel, panels, panels_left - 1)),
                first_panel.eq(final_panel),
                final_panel.eq(Mux(final_panel, panels == 0, panels_left == 1)),
                group_end.eq(
                    Mux(Mux(final_panel, panels == 0, panels_left == 1), short, c.panel - 1)
                ),
            ]
            if c.five_trits:
                with m.If(planes):
                    m.d.sync += group_end.eq(PLANES - 1)
        with m.If(issue if c.shares_weights else done):
            m.d.sync += seat.eq(Mux(final, 0, seat + 1))
        with m.If(over):
            m.d.sync += [active.eq(0), kept.eq(keep)]
        with m.If(release):
            m.d.sync += slot.eq(Mux(slot == SLOTS - 1, 0, slot + 1))
        with m.If(load):
            short_one = command.last < c.panel
            m.d.sync += [
                active.eq(1),
                keep.eq(command.keep),
                short.eq(command.last[:panel_bits]),
                panels.eq(command.last >> panel_bits),
                panels_left.eq(command.last >> panel_bits),
                first_panel.eq(1),
                final_panel.eq(short_one),
                group_end.eq(Mux(short_one, command.last, c.panel - 1)),
                first.eq(1),
            ]
            if c.five_trits:
                with m.If(command.planes):
                    m.d.sync += [
                        panels.eq(command.last),
                        panels_left.eq(command.last),
                        final_panel.eq(command.last == 0),
                        group_end.eq(PLANES - 1),
                    ]
        with m.If(self.filled.ready):
            m.d.sync += [last_block.eq(self.filled.payload - 1), last.eq(self.filled.payload == 1)]
        m.d.comb += [
            self.code_slot.eq(delayed(m, slot, self.early, "slot")),
            self.code_seat.eq(delayed(m, seat, self.early, "seat")),
            self.code_address.eq(delayed(m, block, self.early, "block")),
        ]
        self._codes(m, opening & turn, last, have)

        ended, taken = issue & last, self.o.valid & self.o.ready
        m.d.sync += credit.eq(credit - ended + taken)
        m.d.sync += room.eq((credit > 1) | ((credit == 1) & ~ended))
        place = Cat(group, seat) if c.shares_weights and c.contexts > 1 else group
        self._accumulate(m, issue, place, first, last, block)
        return m

    def _planes(
        self, m: Module, ended: Value, taking: Signal, load: Value
    ) -> tuple[Signal, Signal, Signal]:
        """The matvec has planes; the word behind a panel comes next; the one before is here.

        `ended`: a panel's words have been used; `taking` the word behind is taken.
        """
        planes, scaling, pending = (Signal(name=name) for name in ("planes", "scaling", "pending"))
        if not self.config.five_trits:
            return planes, scaling, pending
        taken = self.scales.valid & self.scales.ready
        m.d.comb += taking.eq(scaling & self.weights.valid & ~pending)
        with m.If(load):
            m.d.sync += planes.eq(self.command.payload.planes)
        with m.If(taking):
            m.d.sync += [scaling.eq(0), pending.eq(1)]
        with m.Elif(taken):
            m.d.sync += pending.eq(0)
        with m.If(ended & planes):
            m.d.sync += scaling.eq(1)
        loaded = delayed(m, taking, self.lead, "scales_come", reset=True)
        with m.If(taken):
            m.d.sync += self.scales.valid.eq(0)
        with m.If(loaded):
            m.d.sync += [
                self.scales.valid.eq(1),
                self.scales.payload.eq(self.weights.payload),
            ]
        return planes, scaling, pending

    def _codes(self, m: Module, read: Value, last: Value, have: Signal) -> None:
        """Whether a block's codes are there; `read`: a block is begun, the `last` of its slot.

        Seats that share a weight word need a block's codes together, and they are written seat
        by seat: those of all seats but the last come before the last seat's first.
        """
        c = self.config
        # Written and not yet read for the first time.
        words = Signal(range(SLOTS * c.contexts * c.slot_words + 1))
        lead, gone = Signal.like(words), Signal.like(words)
        if c.shares_weights and c.contexts > 1:
            blocks = self.filled.payload
            with m.If(self.filled.ready):
                m.d.sync += lead.eq(
                    sum(Mux(bit, blocks << k, 0) for k, bit in enumerate(self.last))
                )
        m.d.comb += gone.eq(Mux(last, lead, 0) + 1)
        m.d.sync += words.eq(words + self.written - Mux(read, gone, 0))
        # One block is begun every few cycles: the cycle behind it may be left out.
        enough = (words > lead) | ((words == lead) & self.written)
        # Nor is it known before a new slot's lead is.
        m.d.sync += have.eq(enough & ~read & ~self.filled.ready)

    def _accumulate(
        self, m: Module, issue: Value, place: Value, first: Value, last: Value, block: Value
    ) -> None:
        """Dot products of the issued words, added up at `place`, into the FIFO."""
        c = self.config
        p, q, numerics = c.columns, c.rows, c.numerics
        m.submodules.rows = rows = Rows(c, self.technology)
        # Codes arrive one cycle after the weights, as rows want them.
        codes = delayed(m, self.code_data, self.lead - self.early, "codes")
        expanding = int(numerics.fp8)
        if expanding:
            each = [whole(m, codes.word_select(k, 8), f"whole{k}") for k in range(p)]
            codes = delayed(m, Cat(*each), expanding, "wholes")
        m.d.comb += [
            rows.packed.eq(delayed(m, self.weights.payload, expanding, "weights")),
            rows.codes.eq(codes),
        ]
        stages = self.lead + expanding + rows.latency + 1
        products: list[Value] = []
        for k in range(q):
            product = Signal(signed(self.sum_width), name=f"product{k}")
            m.d.comb += product.eq(rows.o.word_select(k, rows.sum_bits).as_signed())
            products.append(product)

        target = delayed(m, place, stages, "target")
        if numerics.accumulate:
            about = delayed(m, Cat(issue, last, block), stages, "about", reset=True)
            flags = ChunkFlags(about[0], about[1], about[2:], numerics.accumulate // p)
            totals, whole_rows = chunk_sums(m, products, target, flags, c, self.technology)
        else:
            about = delayed(m, Cat(issue, first, last), stages, "flags", reset=True)
            totals = running_sums(m, products, target, about[0], about[1], self.technology)
            whole_rows = about[0] & about[2]
        m.submodules.out = out = fifo.SyncFIFO(width=self.sum_width * q, depth=GROUPS)
        m.d.comb += [
            out.w_data.eq(Cat(*totals)),
            out.w_en.eq(whole_rows),
            self.o.payload.eq(out.r_data),
            self.o.valid.eq(out.r_rdy),
            out.r_en.eq(self.o.ready),
        ]
