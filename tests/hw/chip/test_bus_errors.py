"""A memory behind AXI4 that answers with errors: a fault, an answer, and then tokens as before."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from hw.chip.test_attention import MODEL
from setun.backends import GoldenBackend, Sampling
from setun.backends.loading import compare
from setun.backends.simulated import simulated_config
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image, aligned
from setun.firmware.image.memory_layout import MemoryLayout, Space, lay_out, sized_for
from setun.firmware.link import ChipClient, Command, Done, Reason, Status, open_port
from setun.firmware.models.architecture import find
from setun.firmware.models.bitnet.config import BitnetConfig
from setun.firmware.models.compiler import compile_checkpoint
from setun.hw.chip import Chip
from setun.hw.emit.conversion import to_verilog
from setun.hw.emit.verilog import TOP
from setun.hw.memory.controllers.axi4_pins import OKAY
from setun.hw.memory.kinds import BURST
from setun.hw.memory.stream.model_reader import ROW_BURST
from setun.models.random import random_checkpoint, random_image
from setun.sim.memories.bulk import bulk_verilog
from setun.sim.memories.kinds import memory_model
from setun.sim.memories.system import system_contents
from setun.sim.simulator import SimulatedChip, compile_chip, memory_file
from setun.sim.simulator.dot import SIMULATOR, dot_verilog

pytestmark = pytest.mark.many_cycles

SLAVE_ERROR = 2
PROMPT, COUNT = [3, 41, 5], 6
ROW = PROMPT[1]  # that is damaged on its way
ERRORS = 2  # reads of it that end so
BAD_BEAT = 3  # of the row's second burst


class DamagedSystem(wiring.Component):
    """A chip whose memory answers one beat of one burst with an error, the first `ERRORS` times.

    Parameters
    ----------
    row, beats
        Beat of the memory at which the burst begins, and its beats.
    """

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(self, config: ChipConfig, row: int, beats: int) -> None:
        self.config, self.row, self.beats = config, row, beats
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.chip = chip = Chip(self.config, technology=SIMULATOR)
        m.submodules.memory = memory = memory_model(self.config).component(self.config)
        m.submodules.marks = marks = fifo.SyncFIFO(width=1, depth=32)
        axi, beat, left = chip.memory, Signal(8), Signal(8, init=ERRORS)
        wiring.connect(m, axi, memory.axi)
        answered = axi.rvalid & axi.rready
        damaged = marks.r_data & (beat == BAD_BEAT) & (left != 0)
        m.d.comb += [
            marks.w_en.eq(axi.arvalid & axi.arready),
            marks.w_data.eq(
                (axi.araddr == self.row * self.config.beat // 8) & (axi.arlen == self.beats - 1)
            ),
            marks.r_en.eq(answered & axi.rlast),
            axi.rresp.eq(OKAY),
            chip.rx.eq(self.rx),
            self.tx.eq(chip.tx),
        ]
        with m.If(damaged):
            m.d.comb += axi.rresp.eq(SLAVE_ERROR)
        with m.If(answered):
            m.d.sync += [beat.eq(beat + 1), left.eq(left - damaged)]
            with m.If(axi.rlast):
                m.d.sync += beat.eq(0)
        return m


@pytest.fixture(scope="module")
def image() -> Image:
    return random_image((64, 1, 128))


@pytest.fixture(scope="module")
def layout(image: Image) -> MemoryLayout:
    options = {"columns": 8, "rows": 4, "lanes": 4, "packing": "1.6b", "memory": "axi4-64"}
    return lay_out(image, simulated_config(sized_for(image, ChipConfig(**options))))


@pytest.fixture(scope="module")
def client(layout: MemoryLayout) -> Iterator[ChipClient]:
    model = layout.external
    assert model is not None
    row = model.first_row() + ROW * model.row_beats
    with damaged(layout, aligned(row + 1, ROW_BURST)) as found:  # bursts end there
        yield found


@contextmanager
def damaged(layout: MemoryLayout, row: int, beats: int = ROW_BURST) -> Iterator[ChipClient]:
    """A chip with a memory of which the burst of `beats` from beat `row` on is damaged."""
    assert layout.external is not None
    config = layout.external.config
    verilog = to_verilog(DamagedSystem(config, row, beats), TOP) + dot_verilog(config.columns)
    verilog += bulk_verilog(*memory_model(config).words(config))
    contents = system_contents(config, layout).items()
    files = {name: memory_file(c.words, c.width) for name, c in contents}
    executable = compile_chip(verilog, TOP, config.divisor, init_files=files)
    with SimulatedChip(executable) as chip, open_port(chip.port, config.baud) as port:
        yield ChipClient(port)


def damaged_generation(client: ChipClient, prompt: list[int]) -> Done:
    """End of a generation whose prompt reads the damaged burst; the link answers beside it."""
    request = struct.pack("<HBII", COUNT, 1, 0, 1)
    frames = [
        (Command.PROMPT, struct.pack(f"<{len(prompt)}H", *prompt)),
        (Command.GENERATE, request),
        *[(Command.INFO, b"")] * 3,
    ]
    link = client.transport
    link.events[0].clear()
    answers = list(link.exchange(frames, window=len(frames)))
    assert [status for _, status, _ in answers] == [Status.OK] * len(frames)
    while not link.events[0]:
        link.pump(1.0)
    done = Done.unpack(link.events[0].popleft().payload)
    assert done is not None
    return done


def test_errors_in_the_middle_of_an_embedding_row(
    client: ChipClient, image: Image, layout: MemoryLayout
) -> None:
    """Each ends its generation as a fault; the next one behind the last error is golden's."""
    assert layout.external is not None
    expected = list(
        GoldenBackend(image, layout.external.config.numerics).generate(PROMPT, COUNT, Sampling())
    )
    for _ in range(ERRORS):
        client.reset()
        assert damaged_generation(client, PROMPT).reason == Reason.FAULT
    for _ in range(3):
        client.reset()
        client.prompt(PROMPT)
        assert list(client.generate(COUNT, True, 0, 1)) == expected
        assert client.last_done is not None and client.last_done.reason == Reason.COUNT


def test_errors_in_the_middle_of_cached_keys() -> None:
    """Half a word of the cache is left over: the next conversation knows nothing of it."""
    fields = vars(MODEL) | {"num_hidden_layers": 1, "num_key_value_heads": 1}
    transformer = compile_checkpoint(
        random_checkpoint(find("bitnet"), BitnetConfig(**fields), seed=3)
    )
    # A burst is eight keys of two words; others are on their way when units start over.
    prompt = [k % transformer.vocab_size for k in range(3, 20)]
    options = {"columns": 16, "rows": 8, "lanes": 4, "attention": 16, "outer_cache": 1}
    options |= {"packing": "1.6b", "memory": "axi4-64", "terminal": 0}
    config = simulated_config(sized_for(transformer, ChipConfig(**options)))
    keys = config.cache_base + config.cache_words * config.outer_positions
    backend = GoldenBackend(transformer, config.numerics)
    expected = list(backend.generate(prompt, COUNT, Sampling()))
    row = aligned(keys * 8 // config.beat, BURST)
    with damaged(lay_out(transformer, config), row, BURST) as client:
        for _ in range(ERRORS):
            client.reset()
            assert damaged_generation(client, prompt).reason == Reason.FAULT
        for _ in range(2):
            client.reset()
            client.prompt(prompt)
            assert list(client.generate(COUNT, True, 0, 1)) == expected


def test_the_chip_is_asked_for_the_memorys_checksum(
    client: ChipClient, layout: MemoryLayout
) -> None:
    """What ports.json says of a memory that somebody else has filled; a bit elsewhere is found."""
    told = compare(client, layout)
    assert told["weights"] == f"{layout.crc(Space.WEIGHTS):08x}"
    assert client.crc(Space.WEIGHTS, 0, layout.size(Space.WEIGHTS)) == layout.crc(Space.WEIGHTS)
    place = layout.size(Space.WEIGHTS) - 7
    word = client.read(Space.WEIGHTS, place, 1)
    client.write(Space.WEIGHTS, place, word ^ 16)
    with pytest.raises(SetunError, match="weights memory: must have the model's CRC"):
        compare(client, layout)
    client.write(Space.WEIGHTS, place, word)
    assert compare(client, layout) == told
