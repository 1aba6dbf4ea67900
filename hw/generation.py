"""Generation: prompt tokens in, sampled tokens out, one body or head of the program at a time."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from setun.firmware.config import ChipConfig
from setun.firmware.functions import NO_SEED
from setun.hw.link.signature import DONE, GENERATE

PROMPT_DEPTH = 128  # prompt tokens queued on the chip
REASON_COUNT, REASON_STOPPED, REASON_NO_PROMPT, REASON_FAULT = range(4)

# 32-bit event counters in the order that the link reports them, since power-on.
COUNTERS = (
    "cycles",  # with the sequencer at work
    "bodies",  # tokens fed
    "heads",  # tokens sampled
    "array_busy",  # cycles with a weight word taken
    "wait_codes",  # array: the quantiser has no slot ready
    "wait_sink",  # array: too many row groups wait for the sink
    "wait_weights",  # array: memory has no word ready
    "quantiser_busy",
    "sink_busy",
    "faults",  # unknown operations met
)


class Generation(wiring.Component):
    """Feeds prompt tokens, then samples and feeds back; whatever was emitted has been fed.

    Members
    -------
    prompt, prompt_space, generate, stop, reset_state, token, done, running, generating
        The core's side of the link.
    loading : In(1)
        Strobe: memory is being written; what was fed before means nothing to another model.
    idle, fault, sampled : In(1), sampled_token : In(16)
        From sequencer and sampler.
    run_body, run_head : Out(1), body_token : Out(16)
        To the sequencer.
    fresh : Out(1)
        Nothing has been fed since the reset: the state reads as zero.
    greedy : Out(1), factor : Out(fmt.width), load_seed : Out(1), seed : Out(32)
        To the sampler.

    `done.reason`: 0 the count was reached, 1 stopped, 2 there is no prompt, 3 the program has an
    unknown operation (blank or damaged memory). `done.cycles` leaves out the waits for the wire.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        super().__init__(
            {
                "prompt": In(stream.Signature(16)),
                "prompt_space": Out(8),
                "generate": In(stream.Signature(GENERATE)),
                "stop": In(1),
                "reset_state": In(1),
                "token": Out(stream.Signature(16)),
                "done": Out(stream.Signature(DONE)),
                "running": Out(1),
                "generating": Out(1),
                "loading": In(1),
                "idle": In(1),
                "fault": In(1),
                "sampled": In(1),
                "sampled_token": In(16),
                "run_body": Out(1),
                "run_head": Out(1),
                "body_token": Out(16),
                "fresh": Out(1, init=1),
                "greedy": Out(1),
                "factor": Out(config.vector.width),
                "load_seed": Out(1),
                "seed": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.prompts = prompts = fifo.SyncFIFOBuffered(width=16, depth=PROMPT_DEPTH)
        request = self.generate.payload
        left, done = Signal(16), self.done.payload
        stopping, faulty, sampled, busy = Signal(), Signal(), Signal(), Signal()
        fed = Signal()  # a body has run since the reset, so there is something to continue
        m.d.comb += [
            prompts.w_data.eq(self.prompt.payload),
            prompts.w_en.eq(self.prompt.valid),
            self.prompt.ready.eq(prompts.w_rdy),
            self.prompt_space.eq(PROMPT_DEPTH - prompts.level),
            self.token.payload.eq(self.sampled_token),
            self.seed.eq(Mux(request.seed == 0, NO_SEED, request.seed)),
            self.running.eq(busy | prompts.r_rdy | (prompts.level != 0)),
        ]
        with m.If(self.reset_state | self.loading):
            m.d.sync += [self.fresh.eq(1), fed.eq(0), faulty.eq(0)]
        with m.If(self.fault):
            m.d.sync += faulty.eq(1)
        with m.If(self.stop & self.generating):
            m.d.sync += stopping.eq(1)
        with m.If(self.sampled):
            m.d.sync += sampled.eq(1)
        with m.If(self.generating & ~self.token.valid):
            m.d.sync += done.cycles.eq(done.cycles + 1)

        with m.FSM() as machine:
            with m.State("IDLE"):
                with m.If(prompts.r_rdy):
                    m.d.comb += prompts.r_en.eq(1)
                    m.d.sync += self.body_token.eq(prompts.r_data)
                    m.next = "FEED"
                # A token just queued is not readable yet, and comes first all the same.
                with m.Elif(self.generate.valid & (prompts.level == 0)):
                    m.d.comb += [self.generate.ready.eq(1), self.load_seed.eq(1)]
                    m.d.sync += [
                        self.greedy.eq(request.greedy),
                        self.factor.eq(request.inv_temperature),
                        left.eq(request.count),
                        done.tokens.eq(0),
                        done.cycles.eq(0),
                        done.reason.eq(Mux(faulty, REASON_FAULT, REASON_NO_PROMPT)),
                        self.generating.eq(1),
                        stopping.eq(0),
                    ]
                    m.next = "REFUSE"
                    with m.If(fed & ~faulty & (request.count != 0)):
                        m.next = "SAMPLE"
            with m.State("FEED"):
                m.d.comb += self.run_body.eq(1)
                m.next = "FEEDING"
            with m.State("FEEDING"), m.If(self.idle):
                m.d.sync += [self.fresh.eq(0), fed.eq(1)]
                with m.If(~self.generating):
                    m.next = "IDLE"
                with m.Elif(faulty | stopping | self.stop | (left == 0)):
                    m.d.sync += done.reason.eq(
                        Mux(faulty, REASON_FAULT, Mux(left == 0, REASON_COUNT, REASON_STOPPED))
                    )
                    m.next = "DONE"
                with m.Else():
                    m.next = "SAMPLE"
            with m.State("SAMPLE"):
                m.d.comb += self.run_head.eq(1)
                m.d.sync += sampled.eq(0)
                m.next = "SAMPLING"
            with m.State("SAMPLING"):
                with m.If(faulty):
                    m.d.sync += done.reason.eq(REASON_FAULT)
                    m.next = "DONE"
                with m.Elif(self.idle & sampled):
                    m.next = "EMIT"
            with m.State("EMIT"):
                m.d.comb += self.token.valid.eq(1)
                with m.If(self.token.ready):
                    m.d.sync += [
                        self.body_token.eq(self.sampled_token),
                        left.eq(left - 1),
                        done.tokens.eq(done.tokens + 1),
                    ]
                    m.next = "FEED"
            with m.State("REFUSE"):
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                m.d.sync += self.generating.eq(0)
                with m.If(self.done.ready):
                    m.next = "IDLE"
        m.d.comb += busy.eq(~machine.ongoing("IDLE"))
        return m
