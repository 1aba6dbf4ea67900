"""Weight DMA: the weight image of an external memory as a stream of weight words."""

from amaranth.hdl import Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.hw.controllers.gearbox import Gearbox
from setun.hw.controllers.port import MAX_BEATS, read_request

LEAST_QUEUE = 16  # words: the depth of distributed RAM


class WeightDma(wiring.Component):
    """Reads a memory from its start, ahead of its reader, and cuts the beats into weight words.

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
        Begin again at word 0, in any cycle: what is queued goes, and so do the beats still on
        their way, however many restarts before have left them. Nothing is read before the first.
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
        self.gearbox = Gearbox(beat, weight_bits)
        self.queue_bits = max(beat, weight_bits)
        words = max(LEAST_QUEUE, -(-depth * beat // self.queue_bits))
        self.queue_words = 1 << (words - 1).bit_length()
        # Room is counted in what fits both a beat and a word of the queue.
        widens = beat < weight_bits
        self.beat_cost = self.gearbox.i_units if widens else 1
        self.word_cost = self.gearbox.o_units if widens else 1
        self.room = self.queue_words * self.word_cost
        super().__init__(
            {
                "restart": In(1),
                "hold": In(1),
                "quiet": Out(1),
                "read": Out(stream.Signature(read_request((self.total - 1).bit_length()))),
                "i": In(stream.Signature(beat)),
                "o": Out(stream.Signature(weight_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        issue, arrives, taken = Signal(), Signal(), Signal()
        self._requests(m, issue, taken)

        # Beats of the requests made and not yet answered, those of earlier passes included.
        # Its top bit stops requests: restarts in a row must not pile up more than it counts.
        reach = max(self.room // self.beat_cost, self.burst)
        pending = Signal(reach.bit_length() + 1)
        stale = Signal.like(pending)  # of these, from before the last restart
        asked = Signal(range(self.burst + 1))
        m.d.comb += [
            asked.eq(Mux(issue, self._beats(self._next), 0)),
            self._crowded.eq(pending[-1]),
            self.quiet.eq(pending == 0),
            self.i.ready.eq(1),
            arrives.eq(self.i.valid & (stale == 0)),
        ]
        m.d.sync += pending.eq(pending + asked - self.i.valid)
        with m.If(self.restart):
            m.d.sync += stale.eq(pending - self.i.valid)
        with m.Elif(self.i.valid & ~arrives):
            m.d.sync += stale.eq(stale - 1)

        # One word more than room is counted for: a buffered FIFO's output register.
        queue = fifo.SyncFIFOBuffered(width=self.queue_bits, depth=self.queue_words + 1)
        m.submodules.queue = ResetInserter(self.restart)(queue)
        m.submodules.gearbox = gearbox = ResetInserter(self.restart)(self.gearbox)
        m.d.comb += taken.eq(queue.r_rdy & queue.r_en)
        if self.beat < self.weight_bits:
            m.d.comb += [
                gearbox.i.payload.eq(self.i.payload),
                gearbox.i.valid.eq(arrives),
                queue.w_data.eq(gearbox.o.payload),
                queue.w_en.eq(gearbox.o.valid),
                gearbox.o.ready.eq(queue.w_rdy),
                self.o.payload.eq(queue.r_data),
                self.o.valid.eq(queue.r_rdy),
                queue.r_en.eq(self.o.ready),
            ]
        else:
            m.d.comb += [
                queue.w_data.eq(self.i.payload),
                queue.w_en.eq(arrives),
                gearbox.i.payload.eq(queue.r_data),
                gearbox.i.valid.eq(queue.r_rdy),
                queue.r_en.eq(gearbox.i.ready),
            ]
            wiring.connect(m, wiring.flipped(self.o), gearbox.o)
        return m

    def _requests(self, m: Module, issue: Signal, taken: Signal) -> None:
        """Requests by credit; `issue` puts the next one on offer."""
        shift = (self.burst - 1).bit_length()
        bursts = -(-self.total // self.burst)
        running, self._crowded = Signal(), Signal()
        self._next = Signal(range(max(bursts, 2)))
        room = Signal(range(self.room + 1), init=self.room)
        waits = Signal()
        m.d.comb += [
            waits.eq(self.read.valid & ~self.read.ready),
            issue.eq(
                running
                & (room >= self.burst * self.beat_cost)
                & ~(self._crowded | waits | self.hold | self.restart)
            ),
        ]
        with m.If(~waits):
            m.d.sync += self.read.valid.eq(issue)
        with m.If(issue):
            m.d.sync += [
                self.read.payload.address.eq(self._next << shift),
                self.read.payload.beats.eq(self._beats(self._next)),
                self._next.eq(self._next + 1),
            ]
            with m.If(self._next == bursts - 1):
                m.d.sync += running.eq(0)
        spent = Mux(issue, self._beats(self._next) * self.beat_cost, 0)
        m.d.sync += room.eq(room - spent + Mux(taken, self.word_cost, 0))
        with m.If(self.restart):
            m.d.sync += [running.eq(1), self._next.eq(0), room.eq(self.room)]

    def _beats(self, burst: Signal) -> Signal:
        """Beats of a burst: the memory's last may be short."""
        rest = self.total % self.burst
        last = self.total // self.burst
        return Mux(burst == last, rest, self.burst) if rest else Const(self.burst)
