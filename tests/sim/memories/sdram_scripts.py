"""Scripts of raw SDRAM commands, each with the rule that it breaks or none."""

from dataclasses import dataclass, field

from setun.hw.memory.controllers.sdram_timing import A10, MT48LC4M32B2, Command
from setun.sim.memories.sdram_rules import Rule, needed_cycles

PART, CLOCK_HZ = MT48LC4M32B2, 142e6  # tRAS + tRP is less than tRC here
POWER_UP_US = 0.2
DEPTH = 1 << 11
NEEDED = {
    rule: needed_cycles(PART, rule, CLOCK_HZ, POWER_UP_US) or 0
    for rule in Rule
    if rule.name.startswith("T_") or rule is Rule.POWER_UP
}
RCD, RP, RAS, RC, RRD, RFC, WR, MRD = (
    NEEDED[r]
    for r in (
        Rule.T_RCD,
        Rule.T_RP,
        Rule.T_RAS,
        Rule.T_RC,
        Rule.T_RRD,
        Rule.T_RFC,
        Rule.T_WR,
        Rule.T_MRD,
    )
)
PAUSE = NEEDED[Rule.POWER_UP]
CAS = 3
MODE = CAS << 4 | 1  # bursts of two
INTERVAL = int(CLOCK_HZ * PART.refresh_ms / 1e3 / (PART.refreshes + 8))


@dataclass
class Script:
    """Commands at distances; `pins` by cycle, NOP where there are none."""

    name: str
    rule: Rule | None = None
    pins: dict[int, dict[str, int]] = field(default_factory=dict)
    now: int = 0
    dq: dict[int, int] = field(default_factory=dict)  # expected by cycle

    def at(self, distance: int, command: Command, bank: int = 0, a: int = 0) -> "Script":
        """A command `distance` cycles after the one before."""
        self.now += distance
        self.pins.setdefault(self.now, {}).update(command=command, ba=bank, a=a)
        return self

    def drive(self, distance: int, *words: int, dqm: tuple[int, ...] = ()) -> "Script":
        """Words on DQ, one a cycle from `distance` after the last command on."""
        for k, word in enumerate(words):
            pins = self.pins.setdefault(self.now + distance + k, {"command": Command.NOP})
            pins.update(dq_oe=1, dq_o=word, dqm=dqm[k] if dqm else 0)
        return self

    def mask(self, distance: int, dqm: int) -> "Script":
        """DQM of one cycle."""
        self.pins.setdefault(self.now + distance, {"command": Command.NOP})["dqm"] = dqm
        return self

    def sleep(self, distance: int) -> "Script":
        """CKE low for a cycle."""
        self.now += distance
        self.pins.setdefault(self.now, {"command": Command.NOP})["cke"] = 0
        return self

    def expect(self, distance: int, *words: int) -> "Script":
        """What DQ shows from `distance` after the last command on."""
        for k, word in enumerate(words):
            self.dq[self.now + distance + k] = word
        return self

    @property
    def length(self) -> int:
        return max([self.now, *self.pins, *self.dq]) + 3


def started(name: str, rule: Rule | None = None, mode: int = MODE) -> Script:
    """A part initialised as fast as it may be; the next command may come tMRD later."""
    script = Script(name, rule).at(PAUSE, Command.PRECHARGE, 0, A10)
    script.at(RP, Command.REFRESH)
    for _ in range(PART.init_refreshes - 1):
        script.at(RFC, Command.REFRESH)
    return script.at(RFC, Command.LOAD_MODE, 0, mode)


def opened(name: str, rule: Rule | None = None, mode: int = MODE) -> Script:
    """Bank 1 with row 0 active; row 0 of bank 1 starts at beat 256."""
    return started(name, rule, mode).at(MRD, Command.ACTIVATE, 1, 0)


def timings() -> list[Script]:
    """Each minimum time, kept to the cycle, and missed by one."""
    c = Command
    scripts = []
    for short, wrong in ((0, False), (1, True)):

        def rule(r: Rule, wrong: bool = wrong) -> Rule | None:
            return r if wrong else None

        side = "short" if wrong else "kept"
        scripts += [
            Script(f"power-up {side}", rule(Rule.POWER_UP)).at(PAUSE - short, c.PRECHARGE, 0, A10),
            started(f"tMRD {side}", rule(Rule.T_MRD)).at(MRD - short, c.ACTIVATE),
            opened(f"tRCD read {side}", rule(Rule.T_RCD)).at(RCD - short, c.READ, 1),
            opened(f"tRCD write {side}", rule(Rule.T_RCD))
            .at(RCD - short, c.WRITE, 1)
            .drive(0, 1, 2),
            opened(f"tRAS {side}", rule(Rule.T_RAS)).at(RAS - short, c.PRECHARGE, 1),
            opened(f"tRAS of all {side}", rule(Rule.T_RAS)).at(RAS - short, c.PRECHARGE, 0, A10),
            opened(f"tRC {side}", rule(Rule.T_RC))
            .at(RAS, c.PRECHARGE, 1)
            .at(RC - RAS - short, c.ACTIVATE, 1),
            opened(f"tRP {side}", rule(Rule.T_RP))
            .at(RC, c.PRECHARGE, 1)
            .at(RP - short, c.ACTIVATE, 1),
            opened(f"tRP to refresh {side}", rule(Rule.T_RP))
            .at(RC, c.PRECHARGE, 0, A10)
            .at(RP - short, c.REFRESH),
            opened(f"tRRD {side}", rule(Rule.T_RRD)).at(RRD - short, c.ACTIVATE, 2),
            started(f"tRFC {side}", rule(Rule.T_RFC))
            .at(MRD, c.REFRESH)
            .at(RFC - short, c.ACTIVATE),
            started(f"tRFC to refresh {side}", rule(Rule.T_RFC))
            .at(MRD, c.REFRESH)
            .at(RFC - short, c.REFRESH),
            opened(f"tWR {side}", rule(Rule.T_WR))
            .at(RC, c.WRITE, 1)
            .drive(0, 1, 2)
            .at(1 + WR - short, c.PRECHARGE, 1),
            opened(f"turnaround {side}", rule(Rule.TURNAROUND))
            .at(RCD, c.READ, 1)
            .drive(CAS + 3 - short, 1),
            opened(f"row open for long {side}", rule(Rule.T_RAS_MAX)).at(
                NEEDED[Rule.T_RAS_MAX] + short, c.PRECHARGE, 1
            ),
            started(f"refreshes {side}", rule(Rule.T_REFI)).at(
                INTERVAL * (9 if wrong else 8) + 5, c.NOP
            ),
        ]
    return scripts


def orders() -> list[Script]:
    """Commands that the part's state does not allow."""
    c = Command
    seven = Script("access after seven refreshes", Rule.INIT).at(PAUSE, c.PRECHARGE, 0, A10)
    seven.at(RP, c.REFRESH)
    for _ in range(PART.init_refreshes - 2):
        seven.at(RFC, c.REFRESH)
    seven.at(RFC, c.LOAD_MODE, 0, MODE).at(MRD, c.ACTIVATE)
    return [
        seven,
        Script("refresh before precharge", Rule.INIT).at(PAUSE, c.REFRESH),
        Script("access before the mode", Rule.INIT)
        .at(PAUSE, c.PRECHARGE, 0, A10)
        .at(RP, c.ACTIVATE),
        started("clock off", Rule.CKE).sleep(5),
        started("full page", Rule.MODE, MODE | 7),
        started("interleaved", Rule.MODE, MODE | 8),
        started("CAS latency 1", Rule.MODE, 1 << 4 | 1),
        started("CAS latency 2 at this clock", Rule.CAS, 2 << 4 | 1),
        opened("active bank activated", Rule.BANK_IDLE).at(RC, c.ACTIVATE, 1),
        opened("refresh over a row", Rule.BANK_IDLE).at(RC, c.REFRESH),
        opened("mode over a row", Rule.BANK_IDLE).at(RC, c.LOAD_MODE, 0, MODE),
        opened("read of an idle bank", Rule.BANK_OPEN).at(RCD, c.READ, 0),
        opened("write after precharge", Rule.BANK_OPEN)
        .at(RAS, c.PRECHARGE, 1)
        .at(RP, c.WRITE, 1)
        .drive(0, 1, 2),
        opened("auto precharge", Rule.AUTO_PRECHARGE).at(RCD, c.READ, 1, A10),
        opened("column too large", Rule.RANGE).at(RCD, c.READ, 1, PART.columns),
        started("write beyond the model", Rule.RANGE)
        .at(MRD, c.ACTIVATE, 0, DEPTH // 1024)
        .at(RCD, c.WRITE, 0)
        .drive(0, 1, 2),
        opened("write of nothing", Rule.WRITE_DATA).at(RCD, c.WRITE, 1),
        opened("half a write", Rule.WRITE_DATA).at(RCD, c.WRITE, 1).drive(0, 1),
        opened("masked write of nothing").at(RCD, c.WRITE, 1).mask(0, 15).mask(1, 15),
        opened("conflict on the first word", Rule.DQ_CONFLICT).at(RCD, c.READ, 1).drive(CAS, 1),
        opened("conflict on the last word", Rule.DQ_CONFLICT).at(RCD, c.READ, 1).drive(CAS + 1, 1),
        opened("no conflict before").at(RCD, c.READ, 1).drive(CAS - 1, 1),
    ]


def contents(word: list[int]) -> list[Script]:
    """What is read; `word` holds the unwritten beats of bank 1, row 0."""
    c = Command
    eight = CAS << 4 | 3
    single = MODE | 1 << 9
    old, new = word[4], 0x12345678
    return [
        opened("a pair").at(RCD, c.READ, 1, 6).expect(CAS, word[6], word[7]),
        opened("a pair from an odd column").at(RCD, c.READ, 1, 7).expect(CAS, word[7], word[6]),
        opened("eight wrap in their block", mode=eight)
        .at(RCD, c.READ, 1, 11)
        .expect(CAS, *word[11:16], *word[8:11]),
        opened("a read ends another", mode=eight)
        .at(RCD, c.READ, 1, 16)
        .expect(CAS, *word[16:19])
        .at(3, c.READ, 1, 40)
        .expect(CAS, *word[40:48]),
        opened("stop ends a burst", mode=eight)
        .at(RCD, c.READ, 1, 16)
        .expect(CAS, *word[16:19])
        .at(3, c.BURST_STOP)
        .drive(CAS + 1, 0),
        opened("precharge ends a burst", mode=eight)
        .at(RAS, c.READ, 1, 16)
        .expect(CAS, *word[16:19])
        .at(3, c.PRECHARGE, 1)
        .drive(CAS + 1, 0),
        opened("DQM hides a word two cycles on")
        .at(RCD, c.READ, 1, 2)
        .mask(CAS - 2 + 1, 15)
        .expect(CAS, word[2])
        .drive(CAS + 2, 1),
        opened("write, masked by bytes")
        .at(RCD, c.WRITE, 1, 4)
        .drive(0, new, 99, dqm=(0b0110, 0))
        .at(2, c.READ, 1, 4)
        .expect(CAS, old & 0x00FFFF00 | new & 0xFF0000FF, 99),
        opened("a single word in a burst's mode", mode=single)
        .at(RCD, c.WRITE, 1, 9)
        .drive(0, 77)
        .at(1, c.READ, 1, 8)
        .expect(CAS, word[8], 77),
        opened("a write goes on where it began")
        .at(RCD, c.WRITE, 1, 21)
        .drive(0, 5, 6)
        .at(2, c.READ, 1, 20)
        .expect(CAS, 6, 5),
    ]
