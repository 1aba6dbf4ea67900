"""The chip's link: UART or mailbox on one side, memory bus and token streams on the other."""

from amaranth.hdl import Elaboratable, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from setun.hw.link.cobs import CobsEncoder
from setun.hw.link.command import CommandProcessor
from setun.hw.link.mailbox import ADDRESS_BITS, Mailbox
from setun.hw.link.receive import FrameReceiver
from setun.hw.link.sharing import LineSharing
from setun.hw.link.signature import Ties, core_members
from setun.hw.link.terminal import Terminal
from setun.hw.link.uart import UartReceiver, UartTransmitter
from setun.hw.memory.controllers.axi4_pins import axi4_lite


def host_members(mailbox: bool) -> dict[str, wiring.Member]:
    """Members of a `Link` on the host's side."""
    if mailbox:
        return {"host": In(axi4_lite(ADDRESS_BITS))}
    return {"rx": In(1, init=1), "tx": Out(1, init=1)}


class Link(wiring.Component):
    """Host protocol of docs/link.md over a UART, or over a mailbox.

    A damaged frame is refused and reported, and never blocks: the next good frame works.

    Parameters
    ----------
    config_info
        INFO record, at most 200 bytes, sent verbatim.
    divisor
        Clock cycles per UART bit, ≥ 4.
    ties
        To the core.
    mailbox
        Whether a processor reaches it over AXI4-Lite instead; not with a terminal.

    Members
    -------
    rx : In(1), tx : Out(1)
        UART pins, idle high; rx may be asynchronous.
    host : In
        Of a mailbox instead, `setun.hw.link.mailbox.Mailbox.axi`.
    bus_req : Out(stream of {write: 1, space: 3, address: 32, data: 32})
        Memory requests, addresses in 32-bit words. At most one read is under way.
    bus_rsp : In(stream of 32)
        One word per read, none per write, at any latency.
    context : Out(2)
        Whom the following members up to `reset_state`, `generating` and `occupied` are about.
    prompt : Out(stream of token_bits)
        Prompt tokens for the context's queue.
    prompt_space : In(8)
        Free entries of that queue now. A PROMPT with more tokens is refused whole.
    generate : Out(stream of {count: 16, greedy: 1, inv_temperature: 32, seed: 32, ends: 1})
        One request, which the core takes at once and begins when the queued prompt is consumed.
        No second one comes before the context's `done`; of one context, the payload stays until
        then. With `ends`, a token of `end_tokens` is its last.
    end_tokens : Out(token_bytes per token)
        Tokens that end a text, as in a frame: those of the latest request that had some.
    stop : Out(1)
        Strobe: end the generation, if there is one.
    reset_state : Out(1)
        Strobe: clear the recurrent state. Only while `occupied` is low.
    token : In(stream of {token: token_bits, context: 2})
        Sampled tokens. Held back while the UART is behind.
    done : In(stream of {reason: 8, tokens: 16, cycles: 32, context: 2})
        End of a generation; valid must not rise before its last token was taken.
    running : In(1)
        Some context has tokens queued or in work, or a generation.
    generating : In(1)
        A generation is under way, from its request until its `done` is taken.
    occupied : In(1)
        The context has tokens queued or in work, or a generation.
    counters : In(ArrayLayout(32, counters))
        Sampled one by one while the reply is sent.
    text_address : Out(10), text : In(9)
        With a terminal: its read port of the space TEXT, a word up to three cycles later.
    text_wanted : Out(1), text_found : In(1), strobe : In(1)
        With a terminal whose text is `shared`: see `setun.hw.link.signature.text_members` and
        `setun.hw.link.sharing.LineSharing`.

    Throughput: replies and events wait for the wire, 10 · divisor cycles per byte, or for room in
    the mailbox; up to 1,023
    bytes of frames queue meanwhile (a frame takes its payload + 3 bytes), further ones are
    refused as NO_ROOM.
    """

    def __init__(
        self, config_info: bytes, divisor: int, ties: Ties, *, mailbox: bool = False
    ) -> None:
        if mailbox and ties.terminal:
            raise ValueError("a terminal needs a UART")
        self.config_info = config_info
        self.divisor = divisor
        self.ties = ties
        self.mailbox = mailbox
        super().__init__({**host_members(mailbox), **core_members(ties)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.frames = frames = FrameReceiver(self.config_info, self.ties.terminal)
        m.submodules.processor = processor = CommandProcessor(len(self.config_info), self.ties)
        m.submodules.encoder = encoder = CobsEncoder()
        if self.mailbox:
            m.submodules.mailbox = mailbox = Mailbox()
            wiring.connect(m, wiring.flipped(self.host), mailbox.axi)
            wiring.connect(m, mailbox.o, frames.i)
            wiring.connect(m, encoder.o, mailbox.i)
            m.d.comb += mailbox.room.eq(frames.free)
        else:
            m.submodules.receiver = receiver = UartReceiver(self.divisor)
            m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
            m.d.comb += [
                receiver.rx.eq(self.rx),
                self.tx.eq(transmitter.tx),
                frames.line_error.eq(receiver.error),
            ]
            if self.ties.terminal:
                self._share(m, receiver, frames, processor, encoder, transmitter)
            else:
                wiring.connect(m, receiver.o, frames.i)
                wiring.connect(m, encoder.o, transmitter.i)
        wiring.connect(m, frames.error, processor.error)
        if not self.ties.terminal:
            wiring.connect(m, processor.o, encoder.i)
        for name in ("bus_req", "bus_rsp", "prompt", "generate", "token", "done"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(processor, name))
        m.d.comb += [
            frames.tail.eq(processor.tail),
            frames.address.eq(processor.address),
            processor.head.eq(frames.head),
            processor.byte.eq(frames.byte),
            processor.prompt_space.eq(self.prompt_space),
            processor.running.eq(self.running),
            processor.generating.eq(self.generating),
            processor.occupied.eq(self.occupied),
            self.context.eq(processor.context),
            processor.counters.eq(self.counters),
            self.stop.eq(processor.stop),
            self.reset_state.eq(processor.reset_state),
            self.end_tokens.eq(processor.end_tokens),
        ]
        return m

    def _share(
        self,
        m: Module,
        receiver: UartReceiver,
        frames: FrameReceiver,
        processor: CommandProcessor,
        encoder: CobsEncoder,
        transmitter: UartTransmitter,
    ) -> None:
        """The wire between two: frames, and the terminal, which makes frames of its own."""
        m.submodules.sharing = sharing = LineSharing(self.divisor, timed=self.ties.shared)
        typing = sharing.typing
        m.submodules.terminal = terminal = ResetInserter(~typing)(Terminal(self.ties))
        wiring.connect(m, receiver.o, sharing.i)
        wiring.connect(m, sharing.frames, frames.i)
        wiring.connect(m, sharing.key, terminal.key)
        # A frame on its way back goes on to where it began to go.
        inside, inward = Signal(), Signal()
        reply = processor.o
        with m.If(reply.valid & reply.ready):
            m.d.sync += inside.eq(~reply.payload.last)
        with m.Elif(~reply.valid & ~inside):
            m.d.sync += inward.eq(typing)
        # What was shown is no part of the first frame behind it.
        parting = Signal()
        with m.If(sharing.turns):
            m.d.sync += parting.eq(typing)
        with m.Elif(transmitter.i.ready):
            m.d.sync += parting.eq(0)
        m.d.sync += sharing.idle.eq(
            ~self.running
            & (frames.head == frames.tail)
            & transmitter.i.ready
            & ~transmitter.i.valid
        )
        m.d.comb += [
            encoder.i.valid.eq(reply.valid & ~inward),
            encoder.i.payload.eq(reply.payload),
            terminal.reply.valid.eq(reply.valid & inward),
            terminal.reply.payload.eq(reply.payload),
            reply.ready.eq(Mux(inward, terminal.reply.ready, encoder.i.ready)),
            transmitter.i.valid.eq(parting | Mux(typing, terminal.o.valid, encoder.o.valid)),
            transmitter.i.payload.eq(
                Mux(parting, 0, Mux(typing, terminal.o.payload, encoder.o.payload))
            ),
            terminal.o.ready.eq(transmitter.i.ready & typing),
            encoder.o.ready.eq(transmitter.i.ready & ~typing & ~parting),
            frames.typing.eq(typing),
            frames.typed.eq(terminal.typed),
            frames.rewind.eq(sharing.turns | terminal.rewind),
            frames.kept.eq(Mux(sharing.turns, 0, terminal.kept)),
            self.text_address.eq(terminal.text_address),
            terminal.text.eq(self.text),
        ]
        if self.ties.shared:
            m.d.comb += [
                sharing.strobe.eq(self.strobe),
                self.text_wanted.eq(terminal.text_wanted),
                terminal.text_found.eq(self.text_found),
            ]
