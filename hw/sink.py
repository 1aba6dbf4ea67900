"""Sink of the array: rows become floats, pass a kernel (MLGRU, GLU, ...) and are stored."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.compiler import STAT_BITS
from setun.firmware.config import ChipConfig
from setun.firmware.isa import Kernel
from setun.hw.arith import FloatFromInt, FloatMultiplier
from setun.hw.kernel import KernelLane
from setun.hw.pipeline import delayed, tree, tree_latency
from setun.hw.scale import SUM_BITS


def sink_command(config: ChipConfig) -> data.StructLayout:
    """MATVEC as the sink sees it, addresses in memory words."""
    return data.StructLayout(
        {
            "rows": unsigned(16),
            "kernel": unsigned(3),
            "keep": unsigned(1),
            "from_state": unsigned(1),
            "feeds": unsigned(1),
            "stat_shift": unsigned(5),
            "source": unsigned(16),
            "destination": unsigned(16),
            "scale": unsigned(config.vector.width),
        }
    )


class Sink(wiring.Component):
    """Stores the array's rows: scale, kernel, memory; V rows per cycle.

    Members
    -------
    command : In(stream)
        See `sink_command`.
    groups : In(stream of Q signed sums)
        From the array.
    scale : In(stream of fmt.width)
        Scale of each slot, from the quantiser.
    vector_address, state_address : Out, vector_data, state_data, gate_data : In
        Read ports, data one cycle later; `gates` are read at the state's address.
    write_vector, write_state : Out(1), write_address, write_data : Out
        Write port of both memories.
    fresh : In(1)
        The state reads as zero: nothing has been fed since the reset.
    logits : Out(stream of V floats)
        Rows of the SAMPLE kernel; taken at least every V cycles.
    listening : In(1), coming : Out(1)
        A command that `feeds` waits for the quantiser to listen; `coming` announces every word of
        it one cycle before it is written.
    array_sum : Out(fmt.width), settled : Out(1)
        Sum of squares of the last matvec's rows, from the leading 12 bits of its accumulators;
        settled when none is under way.
    done : Out(1)
        Strobe: a command's last row is stored.
    busy : Out(1)

    A command may read what the one before wrote: its reads wait until the same word is stored.
    A command with another kernel waits until the lanes are empty. Latency from `groups` to the
    write: 5 cycles and `KernelLane.LATENCY`.
    """

    convert_latency = 1 + FloatFromInt.latency + FloatMultiplier.latency
    latency = convert_latency + max(KernelLane.LATENCY.values())

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        w, v = config.vector.width, config.lanes
        self.sum_width = 8 + ceil_log2(config.max_columns)
        words = data.ArrayLayout(w, v)
        super().__init__(
            {
                "command": In(stream.Signature(sink_command(config))),
                "groups": In(
                    stream.Signature(data.ArrayLayout(signed(self.sum_width), config.rows))
                ),
                "scale": In(stream.Signature(w)),
                "vector_address": Out(16),
                "state_address": Out(16),
                "vector_data": In(words),
                "state_data": In(words),
                "gate_data": In(words),
                "write_vector": Out(1),
                "write_state": Out(1),
                "write_address": Out(16),
                "write_data": Out(words),
                "fresh": In(1),
                "logits": Out(stream.Signature(words)),
                "listening": In(1),
                "coming": Out(1),
                "array_sum": Out(w),
                "settled": Out(1),
                "done": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt, v = self.config.vector, self.config.lanes
        command = self.command.payload
        word, words = Signal(16), Signal(16)
        m.d.comb += words.eq((command.rows + (v - 1)) >> v.bit_length() - 1)
        issue, final = Signal(), Signal()
        m.d.comb += final.eq(word + 1 == words)

        part = self._gearbox(m, issue, final)
        sums = Signal(data.ArrayLayout(signed(self.sum_width), v))
        m.d.sync += sums.eq(self.groups.payload.as_value().word_select(part, v * self.sum_width))
        scale, scale_ready = self._scale(m, issue & final)

        # Chaining: the command before may still be on its way to memory.
        flying = Signal(range(self.latency + 2))
        ahead, before = Signal.like(flying), Signal(16)
        stored = Signal()
        clear = (ahead == 0) | (word + ahead < before)
        pace = Signal(range(max(v, 2)))
        kernel = Signal(3)  # of what is under way
        free = (flying == 0) | (kernel == command.kernel)
        heard = ~command.feeds | (word != 0) | self.listening
        m.d.comb += issue.eq(scale_ready & self.groups.valid & clear & free & heard & (pace == 0))
        with m.If(issue):
            m.d.sync += kernel.eq(command.kernel)
        m.d.sync += flying.eq(flying + issue - stored)
        with m.If(issue & final):
            m.d.sync += [word.eq(0), before.eq(words), ahead.eq(flying + 1 - stored)]
        with m.Else():
            with m.If(issue):
                m.d.sync += word.eq(word + 1)
            with m.If(stored & (ahead != 0)):
                m.d.sync += ahead.eq(ahead - 1)
        # The sampler takes one logit per cycle.
        with m.If(issue & (command.kernel == Kernel.SAMPLE)):
            m.d.sync += pace.eq(v - 1)
        with m.Elif(pace != 0):
            m.d.sync += pace.eq(pace - 1)

        # Tags travel with the rows and leave where their kernel's pipeline ends.
        tag = Signal(data.StructLayout({"valid": 1, "final": 1, "feeds": 1, "address": 16}))
        m.d.comb += [
            tag.valid.eq(issue),
            tag.final.eq(final),
            tag.feeds.eq(command.feeds),
            tag.address.eq(command.destination + word),
        ]
        exits = {k: self.convert_latency + n for k, n in KernelLane.LATENCY.items()}
        exits[Kernel.SAMPLE] = self.convert_latency
        leaving, upcoming = Signal.like(tag), Signal.like(tag)
        here: Value = tag
        for cycle in range(1, self.latency + 1):
            ending = [kernel == k for k, end in exits.items() if end == cycle]
            ended = [kernel == k for k, end in exits.items() if end == cycle - 1]
            following = Signal.like(tag, name=f"tag{cycle}")
            m.d.sync += following.eq(here)
            with m.If(Cat(*ended).any()):
                m.d.sync += following.valid.eq(0)
            with m.If(Cat(*ending).any()):
                m.d.comb += [upcoming.eq(here), leaving.eq(following)]
            here = following

        # Memory is read at once: block RAM is slow to answer, and GLU's silu(a) takes longest.
        gated, sampling = kernel == Kernel.MLGRU, kernel == Kernel.SAMPLE
        source = Signal(16)
        m.d.comb += [
            source.eq(command.source + word),
            self.vector_address.eq(source),
            self.state_address.eq(Mux(command.kernel == Kernel.MLGRU, tag.address, source)),
        ]
        from_state = delayed(m, command.from_state, 1, "from_state")
        late_scale = delayed(m, scale, 1 + FloatFromInt.latency, "late_scale")
        wait = self.convert_latency - 2  # cycles from a memory's registered answer to its row
        assert wait == KernelLane.EARLY
        for k in range(v):
            m.submodules[f"convert{k}"] = convert = FloatFromInt(fmt, self.sum_width)
            m.submodules[f"scale{k}"] = multiply = FloatMultiplier(fmt)
            m.submodules[f"lane{k}"] = lane = KernelLane(fmt)
            operand = Mux(from_state, self.state_data[k], self.vector_data[k])
            state = Mux(self.fresh, 0, self.state_data[k])
            m.d.comb += [
                convert.a.eq(sums[k]),
                multiply.a.eq(convert.o),
                multiply.b.eq(late_scale),
                lane.kernel.eq(kernel),
                lane.y.eq(multiply.o),
                lane.a.eq(delayed(m, operand, 1, f"a{k}")),
                lane.h.eq(delayed(m, state, 1 + wait, f"h{k}")),
                lane.c.eq(delayed(m, self.gate_data[k], 1 + wait, f"c{k}")),
                self.write_data[k].eq(lane.o),
                self.logits.payload[k].eq(multiply.o),
            ]
        m.d.comb += [
            self.logits.valid.eq(leaving.valid & sampling),
            stored.eq(leaving.valid),
            self.write_vector.eq(leaving.valid & ~sampling & ~gated),
            self.write_state.eq(leaving.valid & gated),
            self.write_address.eq(leaving.address),
            self.coming.eq(upcoming.valid & upcoming.feeds),
            self.done.eq(leaving.valid & leaving.final),
            self.busy.eq(self.command.valid | (flying != 0)),
        ]
        self._statistic(m, sums, issue, final)
        return m

    def _gearbox(self, m: Module, issue: Value, final: Value) -> Signal:
        """Which V of a group's Q rows go next; takes the group with its last part."""
        parts = self.config.rows // self.config.lanes
        part = Signal(range(max(parts, 2)))
        whole = final | (part == parts - 1)
        m.d.comb += self.groups.ready.eq(issue & whole)
        with m.If(issue):
            m.d.sync += part.eq(Mux(whole, 0, part + 1))
        return part

    def _scale(self, m: Module, last: Value) -> tuple[Signal, Value]:
        """s = scale * immediate of the current command, and whether it is there.

        s*s follows on the same multiplier for `_statistic`, as `self.squared`.
        """
        fmt = self.config.vector
        command = self.command.payload
        m.submodules.multiply = multiply = FloatMultiplier(fmt)
        scale, self.squared = Signal(fmt.width), Signal(fmt.width, name="squared")
        step = FloatMultiplier.latency
        time = Signal(range(step + 3))
        ready = time > step
        with m.If(time <= step):
            m.d.comb += [multiply.a.eq(self.scale.payload), multiply.b.eq(command.scale)]
        with m.Else():
            m.d.comb += [multiply.a.eq(scale), multiply.b.eq(scale)]
        with m.If(time == step):
            m.d.sync += scale.eq(multiply.o)
        # A vector may be shorter than the multiplier: its square arrives all the same.
        with m.If(delayed(m, time == step + 1, step, "squaring", reset=True)):
            m.d.sync += self.squared.eq(multiply.o)
        with m.If(last):
            m.d.sync += time.eq(0)
        with m.Elif((self.command.valid & self.scale.valid) & (time != step + 2)):
            m.d.sync += time.eq(time + 1)
        m.d.comb += [
            self.command.ready.eq(last),
            self.scale.ready.eq(last & ~command.keep),
        ]
        return scale, ready

    def _statistic(self, m: Module, sums: Value, issue: Value, final: Value) -> None:
        """Sum of squares of a command's accumulators, times s*s: `array_sum`."""
        fmt, v = self.config.vector, self.config.lanes
        command = self.command.payload
        shift = delayed(m, command.stat_shift, 1, "shift")
        squares = []
        for k in range(v):
            short = Signal(signed(STAT_BITS), name=f"short{k}", reset_less=True)
            square = Signal(2 * STAT_BITS, name=f"square{k}", reset_less=True)
            m.d.sync += [short.eq(sums[k] >> shift), square.eq(short * short)]
            squares.append(square)
        joined = tree(m, squares, lambda a, b: a + b, "square_sum")
        first = Signal(init=1)
        with m.If(issue):
            m.d.sync += first.eq(final)
        at = 3 + tree_latency(v)
        flags = delayed(m, Cat(issue, final, first), at, "stat_flags", reset=True)
        total = Signal(SUM_BITS - 1)
        with m.If(flags[0]):
            m.d.sync += total.eq(Mux(flags[2], 0, total) + joined)

        m.submodules.total = convert = FloatFromInt(fmt, SUM_BITS, scaled=True)
        m.submodules.squared = multiply = FloatMultiplier(fmt)
        complete = delayed(m, flags[0] & flags[1], 1, "complete", reset=True)
        latest = Signal.like(command.stat_shift)
        with m.If(issue):
            m.d.sync += latest.eq(command.stat_shift)
        kept = delayed(m, latest, at, "kept_shift")
        done = delayed(m, complete, FloatFromInt.latency + FloatMultiplier.latency, "stat_done",
                       reset=True)  # fmt: skip
        m.d.comb += [
            convert.a.eq(total),
            convert.exponent.eq(kept << 1),
            multiply.a.eq(convert.o),
            multiply.b.eq(self.squared),
        ]
        underway = Signal(range(at + 8))
        m.d.sync += underway.eq(underway + (issue & final) - done)
        m.d.comb += self.settled.eq(underway == 0)
        with m.If(done):
            m.d.sync += self.array_sum.eq(multiply.o)
