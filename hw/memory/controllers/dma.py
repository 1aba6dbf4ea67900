"""Weight DMA: the weight image of an external memory as a stream of weight words."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.memory.controllers.gearbox import Gearbox
from setun.hw.memory.controllers.port import MAX_BEATS, read_request
from setun.hw.memory.controllers.queue import CreditQueue

LEAST_QUEUE = 16  # words: the depth of distributed RAM


def queue_shape(beat: int, weight_bits: int, depth: int) -> tuple[int, int]:
    """Words and bits of a word of the queue of a `WeightDma`."""
    bits = max(beat, weight_bits)
    words = max(LEAST_QUEUE, -(-depth * beat // bits))
    return 1 << (words - 1).bit_length(), bits


class WeightDma(wiring.Component):
    """Reads a memory front to back, ahead of its reader, and cuts the beats into weight words.

    Weight words lie packed: word k takes the bytes from k * `weight_bits` / 8 on, whatever the
    beats are. The queue stands on the wider side of the gearbox, so that after a pause it
    empties as fast as the array takes words, and not at the memory's rate.

    Parameters
    ----------
    beat, capacity
        Bits of a beat and bytes of the memory, as of `controller_members`.
    weight_bits
        Bits of a weight word: whole bytes.
    burst
        Beats of a request: a power of two that divides the controller's own.
    depth
        Beats the queue holds at least, rounded up to a whole RAM. Full rate needs the
        controller's latency in cycles plus two bursts; the array's pauses come on top.

    Members
    -------
    restart : In(1)
        Begin again, in any cycle: what is queued goes, and so do the beats still on their way,
        however many restarts before have left them. Nothing is read before the first.
    first : In
        Burst that a restart begins at, below those of the memory.
    hold : In(1)
        Somebody else wants the memory: requests on their way are finished, no other begins.
    quiet : Out(1)
        No request is on its way; remains so while `hold`.
    read : Out(stream of `read_request`), i : In(stream of `beat` bits)
        To `read` and `o` of the controller. Every request starts at a multiple of `burst` and
        has `burst` beats, except the last of the memory. A request is made only when the queue
        has room for all its beats, so `i.ready` is always high. Later requests do not wait for
        the answers of earlier ones.
    o : Out(stream of `weight_bits`)
        Words in order, up to the end of the memory. A restart takes back the word on offer.

    Latency: 1 cycle from `restart` to the request; from the beat that completes a word to the
    word, 2 cycles more than the gearbox. Throughput: one beat or word per cycle, the narrower.
    """

    def __init__(
        self, *, beat: int, capacity: int, weight_bits: int, burst: int, depth: int
    ) -> None:
        if burst & (burst - 1) or not 0 < burst <= MAX_BEATS:
            raise ValueError(f"burst must be a power of two up to {MAX_BEATS} beats: {burst}")
        if weight_bits % 8 or capacity * 8 % beat:
            raise ValueError(f"must be whole bytes, whole beats: {weight_bits=}, {capacity=}")
        if depth < 2 * burst:
            raise ValueError(f"queue must hold two bursts of {burst} beats: depth {depth}")
        self.beat, self.weight_bits, self.burst = beat, weight_bits, burst
        self.total = capacity * 8 // beat
        self.bursts = -(-self.total // burst)
        self.running = Signal()  # the end has not been reached
        self.following = Signal(range(max(self.bursts, 2)))  # number of the next burst
        self.gearbox = Gearbox(beat, weight_bits)
        self.queue_words, self.queue_bits = queue_shape(beat, weight_bits, depth)
        # Room is counted in what fits both a beat and a word of the queue.
        widens = beat < weight_bits
        self.beat_cost = self.gearbox.i_units if widens else 1
        self.word_cost = self.gearbox.o_units if widens else 1
        self.most = self.queue_words * self.word_cost
        # What is on its way: beats asked for and not answered, restarts before included, and
        # of these the ones from before the last restart. The top bit of the first stops
        # requests, so that restarts in a row do not pile up more than it counts.
        reach = max(self.most // self.beat_cost, burst)
        self.pending = Signal(reach.bit_length() + 1)
        self.stale = Signal.like(self.pending)
        self.room = Signal(range(self.most + 1), init=self.most)
        self.queue = CreditQueue(self.queue_bits, self.queue_words)
        super().__init__(
            {
                "restart": In(1),
                "first": In(range(max(self.bursts, 2))),
                "hold": In(1),
                "quiet": Out(1),
                "read": Out(stream.Signature(read_request((self.total - 1).bit_length()))),
                "i": In(stream.Signature(beat)),
                "o": Out(stream.Signature(weight_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        arrives, taken = Signal(), Signal()
        asked = self._requests(m, taken)

        pending, stale, queue = self.pending, self.stale, self.queue
        m.d.comb += [
            self.quiet.eq(pending == 0),
            self.i.ready.eq(1),
            arrives.eq(self.i.valid & (stale == 0)),
        ]
        m.d.sync += pending.eq(pending + asked - self.i.valid)
        with m.If(self.restart):
            m.d.sync += stale.eq(pending - self.i.valid)
        with m.Elif(self.i.valid & ~arrives):
            m.d.sync += stale.eq(stale - 1)

        m.submodules.queue = ResetInserter(self.restart)(queue)
        m.submodules.gearbox = gearbox = ResetInserter(self.restart)(self.gearbox)
        m.d.comb += taken.eq(queue.o.valid & queue.o.ready)
        first, second = (gearbox, queue) if self.beat < self.weight_bits else (queue, gearbox)
        m.d.comb += [first.i.payload.eq(self.i.payload), first.i.valid.eq(arrives)]
        wiring.connect(m, first.o, second.i)
        wiring.connect(m, wiring.flipped(self.o), second.o)
        return m

    def _requests(self, m: Module, taken: Signal) -> Value:
        """Requests by credit; the beats put on offer in this cycle."""
        rest = self.total % self.burst
        waits, issue = Signal(), Signal()
        running, following = self.running, self.following
        last, beats = Signal(), Signal(range(self.burst + 1))
        asked = Signal.like(beats)
        m.d.comb += [
            waits.eq(self.read.valid & ~self.read.ready),
            issue.eq(
                running
                & (self.room >= self.burst * self.beat_cost)
                & ~(self.pending[-1] | waits | self.hold | self.restart)
            ),
            last.eq(following == self.bursts - 1),
            beats.eq(Mux(last, rest, self.burst) if rest else self.burst),
            asked.eq(Mux(issue, beats, 0)),
        ]
        with m.If(~waits):
            m.d.sync += self.read.valid.eq(issue)
        with m.If(issue):
            m.d.sync += [
                self.read.payload.address.eq(following << (self.burst - 1).bit_length()),
                self.read.payload.beats.eq(beats),
                following.eq(following + 1),
                running.eq(~last),
            ]
        spent = asked * self.beat_cost
        m.d.sync += self.room.eq(self.room - spent + Mux(taken, self.word_cost, 0))
        with m.If(self.restart):
            m.d.sync += [running.eq(1), following.eq(self.first), self.room.eq(self.most)]
        return asked
