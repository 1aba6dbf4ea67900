"""UART, COBS and CRC gateware, each alone."""

import gc
import warnings
from collections.abc import Callable
from functools import partial

import pytest
from amaranth.hdl import Elaboratable, Module, UnusedElaboratable
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bench.runner import run_bench
from setun.hw.link.cobs import CobsDecoder, CobsEncoder
from setun.hw.link.crc import Crc32
from setun.hw.link.receive import FrameReceiver
from setun.hw.link.signature import Ties
from setun.hw.link.uart import UartReceiver, UartTransmitter

DIVISORS = {4: 0.025, 5: 0.025, 16: 0.04, 64: 0.045}  # cycles per bit: tolerance of the rate


class Echo(wiring.Component):
    """Receiver and transmitter back to back."""

    rx: In(1, init=1)
    tx: Out(1, init=1)
    error: Out(1)

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        wiring.connect(m, receiver.o, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            self.error.eq(receiver.error),
        ]
        return m


class Parts(wiring.Component):
    """Units side by side, so that one compilation serves all their benches."""

    def __init__(self) -> None:
        self.units: dict[str, wiring.Component] = {
            **{f"uart{divisor}": Echo(divisor) for divisor in DIVISORS},
            "encoder": CobsEncoder(),
            "decoder": CobsDecoder(),
            "crc": Crc32(),
        }
        super().__init__({name: Out(unit.signature) for name, unit in self.units.items()})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            wiring.connect(m, wiring.flipped(getattr(self, name)), unit)
        return m


@pytest.mark.parametrize("divisor", DIVISORS)
def test_uart(divisor: int) -> None:
    parameters = {"divisor": divisor, "tolerance": DIVISORS[divisor]}
    run_bench(Parts(), "hw.link.bench_parts", parameters=parameters, testcase="uart", seed=3)


@pytest.mark.parametrize("case", ["cobs_encoder", "cobs_decoder", "crc"])
def test_streams(case: str) -> None:
    run_bench(Parts(), "hw.link.bench_parts", testcase=case, seed=4)


@pytest.mark.parametrize(
    ("component", "arguments"),
    [
        (UartReceiver, (3,)),
        (UartTransmitter, (0,)),
        (partial(Ties, counters=60), ()),
        (partial(Ties, contexts=0), ()),
        (partial(Ties, contexts=5), ()),
        (FrameReceiver, (bytes(201),)),
    ],
)
def test_impossible_parameters(
    component: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    refused = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        try:
            component(*arguments)
        except ValueError as error:
            refused = any(character.isdigit() for character in str(error))
        gc.collect()  # while Amaranth's complaint about the half-made component is silenced
    assert refused
