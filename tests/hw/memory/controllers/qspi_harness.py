"""Quad SPI controllers joined to a flash: Setun's model, or cocotbext-qspi's with what it lacks."""

from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from cocotbext.qspi import verilog_dir

from setun.hw.memory.controllers.qspi import QspiFlash
from setun.hw.memory.controllers.qspi_parts import STATUS_2, FlashPart
from setun.hw.pipeline import delayed
from setun.sim.memories.flash import FlashModel

SETTLE_US = 1.0  # instead of 100
PROGRAM, ERASE = 300, 1500  # cycles that the model is busy
OTHER_BITS = 0x14  # of the register with the quad enable bit: nobody may change them


def content(at: int) -> int:
    """First contents of byte `at` of every flash."""
    return (at * 0x9E3779B1 & 0xFFFFFFFF) >> 24


def contents(size: int) -> list[int]:
    """The first `size` bytes as 32-bit words."""
    words = (bytes(map(content, range(at, at + 4))) for at in range(0, size, 4))
    return [int.from_bytes(word, "little") for word in words]


# What the model has, and what takes its place; each occurs once.
CHANGES = [
    (
        "    inout  wire [3:0] io\n",
        """    inout  wire [3:0] io,
    input  wire       tick,
    output wire [3:0] drives,
    output reg  [3:0] violation
""",
    ),
    (
        "    parameter DUMMY       = 8, ",
        """    parameter BUSY_PROGRAM = 0, BUSY_ERASE = 0,
    parameter [7:0] QE_READ = 0, QE_WRITE = 0, QE_BIT = 0, OTHER_BITS = 0,
    parameter CONTINUOUS = 0, POWERED = 0,
    parameter DUMMY       = 8, """,
    ),
    ("memory[i] = 8'hFF;", "memory[i] = (i[31:0] * 32'h9E3779B1) >> 24;"),
    (
        "        powered_up = 1;",
        """        continuous = CONTINUOUS; busy = 0; sr = OTHER_BITS; violation = 0; since = 0;
        woken = 0; powered_up = POWERED;""",
    ),
    (
        "    wire [7:0] status = {6'b0, wel, wip};",
        """    wire [7:0] status = {QE_READ == CMD_RDSR ? sr[7:2] : 6'b0, wel, wip};
    wire qe = (sr & QE_BIT) != 0;
    reg continuous;
    reg [7:0] sr;
    integer busy;
    time since, woken;
    assign drives = !driving ? 4'b0 : lanes == 4 ? 4'b1111 : lanes == 2 ? 4'b0011 : 4'b0010;
    always @(posedge tick) if (busy > 0) begin
        busy = busy - 1;
        if (busy == 0) wip = 1'b0;
    end
    always @(posedge clk) if (!csb && !qe && lanes == 1 && !io[3]) violation = 8;""",
    ),
    (
        "                case (cmd)\n                    CMD_WREN:",
        """                if (wip && cmd != CMD_RDSR && cmd != CMD_RSTEN && cmd != CMD_RST &&
                    cmd != CMD_RDP && cmd != 8'hFF) violation = 1;
                if ((!powered_up || $time < woken) && cmd != CMD_RDP && cmd != 8'hFF)
                    violation = 9;
                if ((cmd == CMD_PP || cmd == CMD_SE || cmd == QE_WRITE) && !wel) violation = 5;
                case (cmd)
                    CMD_WREN:""",
    ),
    (
        "                    CMD_RST: if (was_rst_enabled) wel = 1'b0;",
        """                    CMD_RST: if (was_rst_enabled) begin
                        wel = 1'b0;
                        woken = $time + 900;
                    end""",
    ),
    (
        "                    CMD_RDP:  powered_up = 1'b1;",
        """                    CMD_RDP: begin
                        if (!powered_up) woken = $time + 900;
                        powered_up = 1'b1;
                    end
                    8'hFF, CMD_RSTEN, CMD_PP, CMD_SE, CMD_READ, QE_WRITE: ;""",
    ),
    (
        "                    CMD_QIOR4: lanes = 4;",
        "                    CMD_QIOR4: if (qe) lanes = 4; else violation = 4;",
    ),
    (
        "                    CMD_RDID: buffer = ID0;\n                    default: ;",
        """                    CMD_RDID: buffer = ID0;
                    QE_READ: buffer = sr;
                    default: violation = 6;""",
    ),
    (
        "if (bytecount == 5) dummycount = DUMMY;",
        """if (bytecount == 5) begin
                            dummycount = DUMMY;
                            continuous = cmd == CMD_QIOR4 && buffer[5:4] == 2'b10;
                            if (buffer != 8'hA5 && buffer != 8'hFF) violation = 10;
                        end""",
    ),
    (
        "                    CMD_SE: begin\n",
        """                    QE_WRITE: if (bytecount == 2) addr[7:0] = buffer;
                    CMD_SE: begin
""",
    ),
    (
        "            if (cmd == CMD_PP && wel",
        """            since = $time;
            if (cmd == CMD_PP && addr[7:0] + pp_count > PAGE_SIZE) violation = 2;
            if (cmd == QE_WRITE && wel && !wip && bytecount == 2) begin
                wip = 1'b1;
                wel = 1'b0;
                sr = addr[7:0];
                busy = BUSY_PROGRAM;
            end else if (cmd == CMD_PP && wel""",
    ),
    ("#(PROGRAM_NS) wip = 1'b0;", "busy = BUSY_PROGRAM;"),
    ("#(ERASE_NS) wip = 1'b0;", "busy = BUSY_ERASE;"),
    (
        "            cmd      = 0;\n",
        """            if ($time > 0 && $time - since < 50) violation = 7;
            cmd      = continuous ? CMD_QIOR4 : 8'h00;
            lanes    = continuous ? 4 : 1;
            bytecount = continuous ? 1 : 0;
""",
    ),
    (
        "                CMD_RDSR, CMD_RDID: if",
        "                CMD_RDSR, CMD_RDID, QE_READ: if",
    ),
]

# The pins as wires, and noise where nobody drives them.
PADS = """
module setun_flash #(
    parameter DEPTH = 0, BUSY_PROGRAM = 0, BUSY_ERASE = 0, DUMMY = 0,
    parameter [7:0] QE_READ = 0, QE_WRITE = 0, QE_BIT = 0, OTHER_BITS = 0,
    parameter CONTINUOUS = 0, POWERED = 0
) (
    input tick, input sck, input cs_n, input [3:0] io_o, input [3:0] io_oe,
    output [3:0] io_i, output reg [3:0] violation, output [7:0] register
);
    wire [3:0] io, drives, said;
    reg [7:0] noise = 8'h5A;
    assign io[0] = io_oe[0] ? io_o[0] : 1'bz;
    assign io[1] = io_oe[1] ? io_o[1] : 1'bz;
    assign io[2] = io_oe[2] ? io_o[2] : 1'bz;
    assign io[3] = io_oe[3] ? io_o[3] : 1'bz;
    assign io_i = ((drives | io_oe) & io) | (~(drives | io_oe) & noise[3:0]);
    assign register = flash.sr;
    initial violation = 0;
    always @(posedge tick) begin
        noise <= {noise[6:0], noise[7] ^ noise[5] ^ noise[4] ^ noise[3]};
        if (violation == 0) violation <= |(drives & io_oe) ? 4'd3 : said;
    end
    qspi_flash #(
        .MEM_DEPTH(DEPTH), .BUSY_PROGRAM(BUSY_PROGRAM), .BUSY_ERASE(BUSY_ERASE), .DUMMY(DUMMY),
        .QE_READ(QE_READ), .QE_WRITE(QE_WRITE), .QE_BIT(QE_BIT), .OTHER_BITS(OTHER_BITS),
        .CONTINUOUS(CONTINUOUS), .POWERED(POWERED)
    ) flash (
        .clk(sck), .csb(cs_n), .io(io), .tick(tick), .drives(drives), .violation(said)
    );
endmodule
"""


def flash_model() -> str:
    """Verilog of cocotbext-qspi's model with the changes; it latches codes of `Rule`."""
    text = (verilog_dir() / "qspi_flash.v").read_text()
    for before, after in CHANGES:
        if text.count(before) != 1:
            raise ValueError(f"cocotbext-qspi's model is another one: {before!r} not once in it")
        text = text.replace(before, after)
    return text + PADS


class FlashSystem(wiring.Component):
    """A controller and the model of its part.

    Parameters
    ----------
    late
        Registers between the part's data and the controller's: what pads and tV take.
    continuous, powered
        State in which the part is found.
    own
        The flash is Setun's model.

    Members: those of the controller but its pins; `violation`, a code of
    `setun.sim.memories.flash_rules.Rule`; `register` with the quad enable bit; `cs_n`.
    """

    PORTS = ("read", "o", "bus_req", "bus_rsp")

    def __init__(
        self,
        part: FlashPart,
        clock_hz: float,
        *,
        base: int = 0,
        round_trip: int = 2,
        late: int = 0,
        continuous: bool = False,
        powered: bool = True,
        own: bool = False,
    ) -> None:
        self.part, self.late, self.own = part, late, own
        self.clock_hz = clock_hz
        self.continuous, self.powered = continuous, powered
        self.controller = QspiFlash(
            part, clock_hz, base=base, round_trip=round_trip, settle_us=SETTLE_US
        )
        members = self.controller.signature.members
        super().__init__(
            {
                **{name: members[name] for name in self.PORTS},
                "ready": Out(1),
                "violation": Out(4),
                "register": Out(8),
                "cs_n": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.controller = controller = self.controller
        for name in ("read", "bus_req"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(controller, name))
        for name in ("o", "bus_rsp"):
            wiring.connect(m, getattr(controller, name), wiring.flipped(getattr(self, name)))
        pins, io = controller.pins, Signal(4)
        if self.own:
            self._own_model(m, io)
        else:
            self._cocotbext_model(m, io)
        m.d.comb += [
            self.ready.eq(controller.ready),
            self.cs_n.eq(pins.cs_n),
            pins.io_i.eq(delayed(m, io, self.late, "late")),
        ]
        return m

    def _own_model(self, m: Module, io: Signal) -> None:
        flash = FlashModel(
            self.part,
            self.clock_hz,
            init=contents(self.part.capacity),
            program_us=PROGRAM / self.clock_hz * 1e6,
            erase_us=ERASE / self.clock_hz * 1e6,
            settle_us=SETTLE_US,
            other_bits=OTHER_BITS,
            continuous=self.continuous,
            powered=self.powered,
        )
        # The controller's reset does not reach the part.
        m.domains.part = part = ClockDomain(reset_less=True, local=True)
        m.d.comb += part.clk.eq(ClockSignal())
        m.submodules.flash = DomainRenamer("part")(flash)
        pins = self.controller.pins
        for name in ("sck", "cs_n", "io_o", "io_oe"):
            m.d.comb += getattr(flash.pins, name).eq(getattr(pins, name))
        m.d.comb += [
            io.eq(flash.pins.io_i),
            self.violation.eq(flash.violation.code),
            self.register.eq(flash.register),
        ]

    def _cocotbext_model(self, m: Module, io: Signal) -> None:
        pins = self.controller.pins
        # A part that is quad for good has its bit set already.
        enable = self.part.quad_enable or STATUS_2
        other = OTHER_BITS | (0 if self.part.quad_enable else enable.bit)
        m.submodules.flash = Instance(
            "setun_flash",
            p_DEPTH=self.part.capacity,
            p_BUSY_PROGRAM=PROGRAM,
            p_BUSY_ERASE=ERASE,
            p_DUMMY=self.part.dummy,
            p_QE_READ=enable.read,
            p_QE_WRITE=enable.write,
            p_QE_BIT=enable.bit,
            p_OTHER_BITS=other,
            p_CONTINUOUS=int(self.continuous),
            p_POWERED=int(self.powered),
            i_tick=ClockSignal(),
            i_sck=pins.sck,
            i_cs_n=pins.cs_n,
            i_io_o=pins.io_o,
            i_io_oe=pins.io_oe,
            o_io_i=io,
            o_violation=self.violation,
            o_register=self.register,
        )
