"""Flash and single-port RAM behind the model reader: loads, restarts, stalls, the link's turn."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from bench.harness import Parts
from bench.runner import run_bench
from setun.firmware.config import ChipConfig
from setun.firmware.memory_kinds import SECTOR
from setun.hw.memory.external import ExternalMemory
from setun.hw.memory.kinds import memory_gateware
from setun.sim.memories.flash import FlashModel

WORDS = 200
# A slow clock: the flash's pauses are microseconds.
CONFIGS = {
    name: ChipConfig(
        **{"columns": 8, "rows": 4, "lanes": 1, "memory_bytes": 2048, "clock_hz": 4_000_000},
        **{"constant_pairs": 8, "gate_elements": 8, **options},
    )
    for name, options in {
        "flash": {"memory": "qspi", "packing": "1.6b"},  # 32 bits to 56
        "wide": {"memory": "spram"},  # words of a beat
        "narrow": {"memory": "spram", "packing": "1.6b"},  # 64 bits to 56
    }.items()
}


class ExternalSystem(wiring.Component):
    """An external memory, what is in front of it, and the part outside if it is one.

    Members: weights and the link's port of `ExternalMemory`, `restart`; `violation`, see
    `FlashModel`.
    """

    PORTS = ("weights", "weights_req", "weights_rsp")

    def __init__(self, config: ChipConfig) -> None:
        self.config, self.outside = config, ExternalMemory(config)
        members = self.outside.signature.members
        kept = {name: members[name] for name in ("restart", *self.PORTS)}
        super().__init__({**kept, "violation": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.outside = outside = self.outside
        request = self.weights_req
        m.d.comb += [
            outside.restart.eq(self.restart),
            outside.changed.eq(request.valid & request.ready & request.payload.write),
        ]
        for name in self.PORTS:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(outside, name))
        if self.config.memory == "qspi":
            c = self.config
            m.submodules.flash = flash = FlashModel(
                memory_gateware(c).part(c),
                c.clock_hz,
                first=c.flash_base,
                depth=SECTOR,
                program_us=50.0,
                erase_us=500.0,
            )
            wiring.connect(m, outside.memory, flash.pins)
            m.d.comb += self.violation.eq(flash.violation.code)
        return m


def test_external_memory() -> None:
    about = [
        {
            "name": name,
            "weight_bits": c.weight_bits,
            "weight_words": WORDS,
            "bytes": c.memory_bytes,
            "beat": c.beat,
            "rounds": 6 if c.memory == "qspi" else 40,
        }
        for name, c in CONFIGS.items()
    ]
    units = {name: ExternalSystem(config) for name, config in CONFIGS.items()}
    run_bench(Parts(units), "hw.memory.bench_external", parameters={"memories": about}, seed=81)
