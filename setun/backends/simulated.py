"""The simulated chip as a backend: compiled RTL behind a pseudo-terminal."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import setun.firmware
import setun.hw
import setun.sim.memories
from setun import __version__
from setun.backends.base import Sampling, check_context
from setun.backends.connect import ConnectedChip
from setun.backends.serial import SerialBackend
from setun.firmware.config import ChipConfig
from setun.firmware.image.image import Image, Region
from setun.firmware.image.memory_layout import Space, bound_cycles, lay_out
from setun.firmware.link.baud import MIN_DIVISOR
from setun.firmware.numerics.attention import Heads
from setun.firmware.numerics.formats import Values
from setun.hw.emit.verilog import TOP
from setun.sim.memories.system import system_contents, system_verilog
from setun.sim.simulator import SimulatedChip, cache_folder, compile_chip, memory_file
from setun.sim.simulator.cache import build_once

SIMULATED_CLOCK = 48_000_000
SIMULATED_BAUD = 12_000_000  # four cycles a bit: the simulation spends its time on tokens
# Most tokens a second: all but the array take most of the time, and a host that speaks frames needs
# no terminal (`setun run --backend sim --set terminal=1` has it).
SIMULATED_CHIP = {"rows": 16, "terminal": 0}
IDLE_CYCLES, SILENT_TOKENS = 2_000_000, 64  # for which the simulation keeps its full speed
PATIENCE = 900.0  # seconds; a large model's token is millions of cycles


def simulated_config(config: ChipConfig) -> ChipConfig:
    """`config` with a UART fast enough not to slow a simulation down; cycles do not change.

    It takes the place of a mailbox too. An external memory keeps its clock: its times are in
    nanoseconds.
    """
    clock = config.clock_hz if config.external else SIMULATED_CLOCK
    divisor = max(MIN_DIVISOR, -(-clock // SIMULATED_BAUD))
    return config.override(clock_hz=clock, baud=clock // divisor, mailbox=0)


def _sources() -> bytes:
    """Hash of everything that decides the Verilog of a configuration."""
    digest = hashlib.sha256(__version__.encode())
    for package in (setun.firmware, setun.hw, setun.sim.memories):
        folder = Path(str(package.__file__)).parent
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.digest()


def blank_verilog(config: ChipConfig) -> str:
    """Verilog of a blank chip and its memory, from the cache when neither has changed."""
    name = hashlib.sha256(_sources() + config.digest).hexdigest()[:32]

    def build(folder: Path) -> None:
        (folder / "chip.v").write_text(system_verilog(config))

    folder, _ = build_once(cache_folder() / "verilog", name, build)
    return (folder / "chip.v").read_text()


class SimulatedBackend:
    """Runs `image` on a compiled simulation of the chip that `config` describes.

    Parameters
    ----------
    image
        The model; in the memories when the simulation starts.
    config
        The chip; see `simulated_config`.
    context
        Conversation that `generate` goes on in.
    waves
        FST file to write (slower).
    progress
        Called with a line per stage: nothing, if everything is in the cache.
    """

    def __init__(
        self,
        image: Image,
        config: ChipConfig,
        *,
        context: int = 0,
        waves: Path | None = None,
        progress: Callable[[str], None] = lambda stage: None,
    ) -> None:
        check_context(context, config.contexts)
        layout = lay_out(image, config)
        contents = system_contents(config, layout)
        progress("generate Verilog")
        executable = compile_chip(
            blank_verilog(config), TOP, config.divisor, waves=waves is not None, progress=progress
        )
        files = {name: memory_file(c.words, c.width) for name, c in contents.items()}
        token = bound_cycles(image, config)
        self.chip = SimulatedChip(
            executable,
            memories=files,
            waves=waves,
            # A prompt is taken in silently.
            idle_cycles=max(IDLE_CYCLES, SILENT_TOKENS * token),
        )
        try:
            self._serial = SerialBackend(
                image,
                self.chip.port,
                baud=config.baud,
                patience=PATIENCE,
                context=context,
                layout=layout,
            )
        except BaseException:
            self.chip.close()
            raise
        self.config = config
        self.clock_hz: int | None = None

    @property
    def connected(self) -> ConnectedChip:
        """The chip behind its port."""
        return self._serial.connected

    @property
    def positions(self) -> int:
        """Tokens that a conversation may have; 0 where nothing limits it."""
        return self._serial.positions

    @property
    def cycles_per_token(self) -> float | None:
        return self._serial.cycles_per_token

    def generate(self, prompt: Sequence[int], count: int, sampling: Sampling) -> Iterator[int]:
        return self._serial.generate(prompt, count, sampling)

    def start(
        self, prompt: Sequence[int], count: int, sampling: Sampling, context: int = 0
    ) -> Iterator[int]:
        """Begin at once, in any context of the chip; several may be under way."""
        return self._serial.start(prompt, count, sampling, context)

    def feed(self, prompt: Sequence[int], context: int = 0) -> None:
        """Feed `prompt` to a fresh state and wait until the chip has taken it in."""
        client = self._serial.client
        client.reset(context)
        client.prompt(prompt, context)
        client.read(Space.STATE, 0, 1)  # memory is read between passes only

    def state(self, context: int = 0) -> Values:
        """Recurrent state [elements] of a context as the chip holds it; see `Image.memory`."""
        return self._serial.state(context)

    def cached(
        self, region: Region, head: int, count: int, context: int = 0, *, values: bool = False
    ) -> Heads:
        """See `setun.backends.cache.cached`."""
        return self._serial.cached(region, head, count, context, values=values)

    def counters(self) -> list[int]:
        """The chip's event counters, in the order of `setun.hw.control.generation.COUNTERS`."""
        return self._serial.client.counters()

    def close(self) -> None:
        self._serial.close()
        self.chip.close()
