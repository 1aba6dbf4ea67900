"""Storage of memory models: as large as a DRAM, in Verilog of its own.

Amaranth writes one line for every word of a memory, which takes minutes for a million of them.
"""

from amaranth.hdl import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

NAME = "setun_bulk"  # module; its memory is called `store`


class BulkStore(wiring.Component):
    """`depth` words of whole bytes; one read and one write port, data one cycle later.

    Members: `read_address`, `write_address : In`, `read_data : Out(width)`,
    `write_data : In(width)`, `write_enable : In(width / 8)`. A read in the cycle of a write sees
    the old word.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        super().__init__(
            {
                "read_address": In(range(depth)),
                "read_data": Out(width),
                "write_address": In(range(depth)),
                "write_data": In(width),
                "write_enable": In(width // 8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bulk = Instance(
            NAME,
            i_clk=ClockSignal(),
            i_read_address=self.read_address,
            o_read_data=self.read_data,
            i_write_address=self.write_address,
            i_write_data=self.write_data,
            i_write_enable=self.write_enable,
        )
        return m


def bulk_verilog(width: int, depth: int) -> str:
    """The module behind every `BulkStore` of a design; all words are zero at first."""
    address = max(depth - 1, 1).bit_length() - 1
    writes = "\n".join(
        f"    if (write_enable[{k}]) store[write_address][{8 * k + 7}:{8 * k}]"
        f" <= write_data[{8 * k + 7}:{8 * k}];"
        for k in range(width // 8)
    )
    return f"""
module {NAME}(clk, read_address, read_data, write_address, write_data, write_enable);
  input clk;
  input [{address}:0] read_address;
  output reg [{width - 1}:0] read_data;
  input [{address}:0] write_address;
  input [{width - 1}:0] write_data;
  input [{width // 8 - 1}:0] write_enable;
  reg [{width - 1}:0] store [{depth - 1}:0];
  initial begin
    store[0] = {width}'h0;
  end
  always @(posedge clk) begin
    read_data <= store[read_address];
{writes}
  end
endmodule
"""
