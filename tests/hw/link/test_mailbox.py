"""The mailbox against cocotbext-axi: alone, and the client of a link through it."""

import pytest

from bench.harness import Parts
from bench.runner import run_bench
from hw.link.toy import ToyChip
from setun.hw.link import Link
from setun.hw.link.mailbox import Mailbox
from setun.hw.link.signature import Ties

BENCH = "hw.link.bench_mailbox"


@pytest.mark.parametrize("case", ["bytes", "bytes_with_stalls", "registers"])
def test_mailbox(case: str) -> None:
    run_bench(Parts({"box": Mailbox()}), BENCH, testcase=f"mailbox_{case}", seed=61)


def test_a_client_through_the_mailbox() -> None:
    chip = ToyChip(4, mailbox=True)
    parameters = {"divisor": 4, "contexts": 1}
    run_bench(chip, BENCH, parameters=parameters, testcase="link_client", seed=62)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_a_terminal_needs_a_uart() -> None:
    with pytest.raises(ValueError, match="needs a UART"):
        Link(b"", 4, Ties(terminal=True), mailbox=True)
