"""Verdict on a command before anything is done."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.link.messages import (
    MAX_WORDS,
    OF_CONTEXT,
    Command,
    Status,
    prompt_tokens,
)
from setun.hw.link.request import REQUEST_BYTES, request_bytes
from setun.hw.link.signature import Ties


class CommandCheck(wiring.Component):
    """Does this command exist, has its payload a possible length, may it run now?

    Parameters
    ----------
    ties
        To the core.

    Members
    -------
    kind : In(8), length : In(8)
        Frame type and payload bytes.
    running : In(1)
        Some context works, or will.
    occupied : In(1), generating : In(1), prompt_space : In(8)
        Of the context that the command names: it works, or will; a generation was accepted and
        has not ended; free entries of its prompt queue.
    status : Out(Status)

    Latency: 0 (combinational).
    """

    def __init__(self, ties: Ties) -> None:
        self.ties = ties
        super().__init__(
            {
                "kind": In(8),
                "length": In(8),
                "running": In(1),
                "occupied": In(1),
                "generating": In(1),
                "prompt_space": In(8),
                "status": Out(Status),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        length = self.length
        working = self.running
        context = self.kind[4:6]
        shift = ceil_log2(self.ties.token_bytes)
        no_room = length[shift:] > self.prompt_space
        whole_words = (length[:2] == 1) & (length > 5) & (length <= 5 + 4 * MAX_WORDS)
        most = prompt_tokens(self.ties.token_bytes) << shift
        tokens = (length[:shift] == 0) & (length != 0) & (length <= most)
        asked = (length == REQUEST_BYTES) | (length == request_bytes(self.ties))
        never = Const(0)
        rules = {
            Command.INFO: (length == 0, never),
            Command.WRITE: (whole_words, working),
            Command.READ: (length == 6, working),
            Command.CRC: (length == 9, working),
            Command.RESET: (length == 0, self.occupied),
            Command.PROMPT: (tokens, self.generating | no_room),
            Command.GENERATE: (asked, self.generating),
            Command.STOP: (length == 0, never),
            Command.COUNTERS: (length == 0, never),
        }
        well_formed = Signal()
        busy = Signal()
        known = Signal(init=1)
        with m.Switch(Cat(self.kind[:4], self.kind[6:])):
            for command, (shape, wait) in rules.items():
                with m.Case(command):
                    m.d.comb += busy.eq(wait)
                    if command in OF_CONTEXT:
                        m.d.comb += well_formed.eq(shape & (context < self.ties.contexts))
                    else:
                        m.d.comb += [well_formed.eq(shape), known.eq(context == 0)]
            with m.Default():
                m.d.comb += known.eq(0)
        with m.If(~known):
            m.d.comb += self.status.eq(Status.UNKNOWN_COMMAND)
        with m.Elif(~well_formed):
            m.d.comb += self.status.eq(Status.BAD_ARGUMENT)
        with m.Elif(busy):
            m.d.comb += self.status.eq(Status.BUSY)
        return m
