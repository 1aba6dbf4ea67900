"""Sink of the array: rows become floats, pass a kernel (MLGRU, GLU, ...) and are stored."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from numpy.typing import ArrayLike

from setun.firmware.config import ChipConfig
from setun.firmware.numerics.arithmetic import Arithmetic
from setun.firmware.numerics.functions import Ints
from setun.firmware.numerics.noise import state_noise
from setun.firmware.program import kernels
from setun.firmware.program.kernels import Port
from setun.hw.arith import PRODUCT_LATENCY, FloatFromInt, multiplier
from setun.hw.commands import CONSTANT_WORDS, sink_command
from setun.hw.instruction import among, shape
from setun.hw.pipeline import delayed
from setun.hw.seats import Walk, number, pass_layout, walk, within, workspaces
from setun.hw.vector.kernel import KernelLane, kernel_latency
from setun.hw.vector.noise import StateNoise
from setun.hw.vector.planes import GROWTH, PlaneJoin
from setun.hw.vector.quantiser import coming_layout
from setun.hw.vector.row_factors import row_factors, slot_scales
from setun.hw.vector.rowstat import RowStatistic


def logits_layout(config: ChipConfig) -> data.StructLayout:
    """V logits of a seat: words `word` * V and up of its vocabulary."""
    return data.StructLayout(
        {
            "word": shape(config, "n"),
            "seat": number(config.contexts),
            "values": data.ArrayLayout(config.vector.width, config.lanes),
        }
    )


class Stored(NamedTuple):
    """What `Sink` makes of one seat's rows, in bits."""

    vector: Ints
    """Words of vector memory, or logits."""
    state: Ints
    """Words of the state, if the kernel keeps one."""
    array_sum: int


class Sink(wiring.Component):
    """Stores the array's rows: scale, kernel, memory; V rows per cycle.

    Members
    -------
    command : In(stream)
        See `setun.hw.commands.sink_command`; done for every seat.
    seating : In
        Who sits where; see `setun.hw.seats.pass_layout`.
    groups : In(stream of Q signed sums)
        From the array.
    scales : In(stream of Q numbers)
        Only with `config.five_trits`: those of a row group's rows, for a command with `planes`,
        whose groups are planes of five-trit weights, five of each row group.
    scale : In(stream of fmt.width)
        Scale of each slot, seat by seat, from the quantiser.
    vector_address, state_address : Out, vector_data, state_data, gate_data : In
        Read ports, data one cycle later.
    gate_address : Out
        Of the gates: the state's address, the same for all contexts; of a streamed model, that of
        the command.
    gates_freed : Out(1)
        Of a streamed model alone. Strobe: a command's gates have been read.
    write_vector, write_state : Out(1), vector_write, state_write, write_data, state_word : Out
        Write ports of both memories: strobes, addresses, words.
    generators : In(32 bits per seat)
        Only if the state is rounded at random; see `setun.hw.vector.noise`.
    logits : Out(stream of `logits_layout`)
        Rows of the SAMPLE kernel; taken at least every V cycles.
    listening : In(1), coming : Out
        A command that `feeds` waits for the quantiser to listen; `coming` announces every word of
        it one cycle before it is written.
    array_sum : Out(fmt.width per seat), settled : Out(one bit per seat)
        See `RowStatistic`.
    done : Out(1)
        Strobe: a command's last row is stored.
    busy : Out(1)

    A command begins when the one before is stored, so it may read what that wrote; a seat chained
    to the one before likewise waits for the state. Latency from `groups` to the write: 5 cycles
    and `KernelLane.LATENCY`.
    """

    convert_latency = 1 + FloatFromInt.latency + PRODUCT_LATENCY

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        known = config.core.kernels
        self.lanes = [KernelLane(config.numerics, known) for _ in range(config.lanes)]
        self.statistic = RowStatistic(config)
        latency = kernel_latency(config.numerics)
        self.kernels = {kernel: latency[kernel] for kernel in config.core.kernels}
        self.latency = self.convert_latency + max(self.kernels.values())
        w, v = config.vector.width, config.lanes
        self.sum_width = config.sum_width + GROWTH * config.five_trits
        words = data.ArrayLayout(w, v)
        states = data.ArrayLayout(config.numerics.state.width, v)
        random = {"generators": In(data.ArrayLayout(32, config.contexts))}
        super().__init__(
            {
                **(random if config.numerics.stochastic else {}),
                **({"gates_freed": Out(1)} if config.streams else {}),
                **({"scales": In(stream.Signature(w * config.rows))} if config.five_trits else {}),
                "command": In(stream.Signature(sink_command(config))),
                "seating": In(pass_layout(config)),
                "groups": In(
                    stream.Signature(data.ArrayLayout(signed(config.sum_width), config.rows))
                ),
                "scale": In(stream.Signature(w)),
                "vector_address": Out(shape(config, "src")),
                "state_address": Out(shape(config, "dst")),
                "gate_address": Out(CONSTANT_WORDS if config.streams else shape(config, "dst")),
                "vector_data": In(words),
                "state_data": In(states),
                "gate_data": In(words),
                "write_vector": Out(1),
                "write_state": Out(1),
                "vector_write": Out(shape(config, "src")),
                "state_write": Out(shape(config, "dst")),
                "write_data": Out(words),
                "state_word": Out(states),
                "logits": Out(stream.Signature(logits_layout(config))),
                "listening": In(1),
                "coming": Out(coming_layout(config)),
                "array_sum": Out(data.ArrayLayout(w, config.contexts)),
                "settled": Out(config.contexts),
                "done": Out(1),
                "busy": Out(1),
            }
        )

    def model(
        self,
        command: Mapping[str, int],
        sums: ArrayLike,
        scale: int,
        source: ArrayLike,
        state: ArrayLike,
        gates: ArrayLike,
        generator: int = 0,
        row_scales: ArrayLike | None = None,
    ) -> "Stored":
        """What one seat's rows make, all in bits but for the `sums` [n] and the `command`.

        Parameters
        ----------
        source, state, gates
            Operands [n] beside the rows; those that the kernel does not read hold anything.
        generator
            Of the seat, if the state is rounded at random.
        row_scales
            [n], if the command has planes; `sums` are then the joined ones.
        """
        numerics, fmt = self.config.numerics, self.config.vector
        compute, kernel = Arithmetic(numerics), kernels.coded(command["kernel"])
        whole = np.asarray(sums, np.float64)
        slot, weights = (float(fmt.from_bits(bits)) for bits in (scale, command["scale"]))
        own = None if row_scales is None else fmt.from_bits(row_scales)
        rows, s = compute.rows(whole, slot, weights, own)
        squared = int(fmt.to_bits(compute.mul(s, s))[0])
        first = command["destination"] * self.config.lanes
        noise = state_noise(generator, first, len(rows)) if numerics.stochastic else 0
        y = fmt.to_bits(rows).astype(np.int64)
        o, kept = self.lanes[0].model(kernel, y, source, state, gates, noise)
        statistic = self.statistic.model(whole, command["stat_shift"], squared)
        return Stored(o, kept, statistic)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, v = self.config, self.config.lanes
        command, last = self.command.payload, self.seating.last
        final, issue = Signal(shape(c, "n")), Signal()
        m.d.comb += final.eq((command.rows - 1) >> v.bit_length() - 1)
        at = walk(m, c, issue, final, last, "issue", shared=c.shares_weights)
        finished = issue & at.ends
        sums, goes_on, joined = self._words(m, issue, at)
        m.d.comb += [
            self.groups.ready.eq((issue & at.breaks) | joined),
            self.command.ready.eq(finished),
        ]
        if c.streams:
            reads = among(command.kernel, lambda k: Port.GATES in k.reads)
            m.d.comb += self.gates_freed.eq(finished & reads)
        scale, squares, scaled = slot_scales(
            m, c, self.command, self.scale, last, finished, at.seat
        )

        # Of what is under way: nothing else begins before it is stored.
        flying, stored = Signal(range(self.latency + 2)), Signal()
        kernel, feeds, landing = Signal(shape(c, "kernel")), Signal(), Signal(shape(c, "n"))
        source, destination = Signal(shape(c, "src")), Signal(shape(c, "dst"))
        idle, begins = flying == 0, at.opens & (at.seat == 0)
        chained = self.seating.seats[at.seat].chained & among(command.kernel, lambda k: k.gated)
        row_begins = (at.word[: ceil_log2(c.rows // v)] == 0) if c.shares_weights else at.opens
        heard = ~command.feeds | ~begins | self.listening
        pace = Signal(range(max(v, 2)))
        m.d.comb += issue.eq(
            scaled.bit_select(at.seat, 1)
            & self.groups.valid
            & goes_on
            & heard
            & (pace == 0)
            & (idle | ~(begins | (chained & row_begins)))
        )
        m.d.sync += flying.eq(flying + issue - stored)
        with m.If(issue & begins):
            m.d.sync += [
                kernel.eq(command.kernel),
                feeds.eq(command.feeds),
                landing.eq(final),
                source.eq(command.source),
                destination.eq(command.destination),
            ]
        # The sampler takes one logit per cycle.
        with m.If(issue & among(command.kernel, lambda k: k.samples)):
            m.d.sync += pace.eq(v - 1)
        with m.Elif(pace != 0):
            m.d.sync += pace.eq(pace - 1)

        announced, drawn = self._moving(m, issue, idle, kernel)
        out = walk(m, c, announced, landing, last, "out", shared=c.shares_weights)
        self._land(m, announced, out, kernel, feeds, source, destination)
        m.d.comb += [
            stored.eq(self.write_vector | self.write_state | self.logits.valid),
            self.busy.eq(self.command.valid | ~idle),
        ]
        self._connect(m, at, sums, scale, kernel)
        if c.numerics.stochastic:
            m.submodules.noise = noise = StateNoise(v)
            ahead = walk(m, c, drawn, landing, last, "noise", shared=c.shares_weights)
            m.d.comb += [
                noise.generator.eq(self.generators[ahead.seat]),
                noise.word.eq(destination + ahead.word),
                *(lane.noise.eq(noise.o[k]) for k, lane in enumerate(self.lanes)),
            ]

        m.submodules.statistic = statistic = self.statistic
        seat = delayed(m, at.seat, 1, "seat")
        m.d.comb += [
            *(statistic.rows[k].eq(sums[k]) for k in range(v)),
            statistic.valid.eq(delayed(m, issue, 1, "summed", reset=True)),
            statistic.opens.eq(delayed(m, at.opens, 1, "opens")),
            statistic.closes.eq(delayed(m, at.closes, 1, "closes")),
            statistic.seat.eq(seat),
            statistic.shift.eq(delayed(m, command.stat_shift, 1, "shift")),
            statistic.squares.eq(squares),
            self.array_sum.eq(statistic.o),
            self.settled.eq(statistic.settled),
        ]
        return m

    def _words(self, m: Module, issue: Value, at: Walk) -> tuple[data.View, Value, Value]:
        """V sums of the word that is issued; whether one may be; a group was joined, see
        `PlaneJoin`."""
        c, group = self.config, self.groups
        part = at.word[: ceil_log2(c.rows // c.lanes)]
        sums = Signal(data.ArrayLayout(signed(self.sum_width), c.lanes))
        if not c.five_trits:
            chosen = group.payload.as_value().word_select(part, len(sums.as_value()))
            m.d.sync += sums.eq(chosen)
            return sums, Const(1), Const(0)
        m.submodules.planes = join = PlaneJoin(c)
        planes = self.command.valid & self.command.payload.planes
        m.d.comb += [
            join.planes.eq(planes),
            join.valid.eq(group.valid),
            join.group.eq(group.payload),
            join.word.eq(part),
            join.seat.eq(at.seat),
            join.breaks.eq(issue & at.breaks),
            join.last_seat.eq(self.seating.last),
            self.scales.ready.eq(join.finished),
        ]
        m.d.sync += sums.eq(join.sums)
        return sums, join.goes_on & (~planes | self.scales.valid), join.joined

    def _moving(self, m: Module, issue: Value, idle: Value, kernel: Value) -> tuple[Signal, Signal]:
        """High while a word is one cycle from the end of its kernel's pipeline; and a cycle
        before the noise enters that rounds a state."""
        exits = {k: self.convert_latency + n for k, n in self.kernels.items()}
        # moving[k] is high k + 1 cycles after the issue; what has left is cleared with the rest.
        moving = Signal(max(exits.values()))
        with m.If(idle):
            m.d.sync += moving.eq(issue)
        with m.Else():
            m.d.sync += moving.eq((moving << 1) | issue)
        announced = Signal()
        with m.Switch(kernel):
            for k, cycles in exits.items():
                with m.Case(k.code):
                    m.d.sync += announced.eq(moving[cycles - 3])
        drawn = Signal()
        if self.config.numerics.stochastic:
            wider = self.config.numerics.state.mantissa > self.config.vector.mantissa
            (early,) = {cycles - (5 if wider else 4) for k, cycles in exits.items() if k.gated}
            m.d.sync += drawn.eq(moving[early] & among(kernel, lambda k: k.gated))
        return announced, drawn

    def _land(
        self,
        m: Module,
        announced: Value,
        out: Walk,
        kernel: Value,
        feeds: Value,
        source: Value,
        destination: Value,
    ) -> None:
        """Addresses and strobes of the word that is stored in the next cycle."""
        c = self.config
        gated = among(kernel, lambda k: k.gated)
        sampling = among(kernel, lambda k: k.samples)
        seat = self.seating.seats[out.seat]
        over = among(kernel, lambda k: k.stores is Port.SOURCE)
        local = Mux(over, source, destination) + out.word
        m.d.comb += [
            self.coming.valid.eq(announced & feeds),
            self.coming.word.eq(out.word),
            self.coming.seat.eq(out.seat),
            self.coming.closes.eq(out.closes),
            self.coming.ends.eq(out.ends),
        ]
        m.d.sync += [
            self.write_vector.eq(announced & ~sampling),
            self.write_state.eq(announced & gated),
            self.logits.valid.eq(announced & sampling),
            self.logits.payload.word.eq(out.word),
            self.logits.payload.seat.eq(out.seat),
            self.vector_write.eq(within(local, c.vector_words, seat.workspace, workspaces(c))),
            self.state_write.eq(
                within(destination + out.word, c.state_words, seat.context, c.contexts)
            ),
            self.done.eq(announced & out.ends),
        ]

    def _connect(self, m: Module, at: Walk, sums: data.View, scale: Value, kernel: Value) -> None:
        """Rows and their operands from memory to the lanes, and results to the ports."""
        c, fmt = self.config, self.config.vector
        command, seat = self.command.payload, self.seating.seats[at.seat]
        # Memory is read at once: block RAM is slow to answer, and GLU's silu(a) takes longest.
        state = Signal(shape(c, "dst"))
        m.d.comb += [
            self.vector_address.eq(
                within(command.source + at.word, c.vector_words, seat.workspace, workspaces(c))
            ),
            state.eq(command.destination + at.word),
            self.gate_address.eq(command.gates + at.word if c.streams else state),
            self.state_address.eq(within(state, c.state_words, seat.context, c.contexts)),
        ]
        fresh = delayed(m, seat.fresh, 1, "fresh")
        planes, own = (command.planes, self.scales.payload) if c.five_trits else (Const(0),) * 2
        factors = row_factors(m, c, at, scale, planes, own)
        wait = self.convert_latency - 2  # cycles from a memory's registered answer to its row
        assert wait == KernelLane.EARLY
        for k in range(c.lanes):
            m.submodules[f"convert{k}"] = convert = FloatFromInt(
                fmt, self.sum_width, fraction=c.numerics.fraction
            )
            m.submodules[f"scale{k}"] = multiply = multiplier(c.numerics)
            m.submodules[f"lane{k}"] = lane = self.lanes[k]
            kept = Mux(fresh, 0, self.state_data[k])
            m.d.comb += [
                convert.a.eq(sums[k]),
                multiply.a.eq(convert.o),
                multiply.b.eq(factors[k]),
                lane.kernel.eq(kernel),
                lane.y.eq(multiply.o),
                lane.a.eq(delayed(m, self.vector_data[k], 1, f"a{k}")),
                lane.h.eq(delayed(m, kept, 1 + wait, f"h{k}")),
                lane.c.eq(delayed(m, self.gate_data[k], 1 + wait, f"c{k}")),
                self.write_data[k].eq(lane.o),
                self.state_word[k].eq(lane.state),
                self.logits.payload.values[k].eq(multiply.o),
            ]
