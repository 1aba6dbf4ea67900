"""The cell of a row's dot product that simulated chips have: eight columns in 64 bits."""

from amaranth.hdl import Instance, Module, Signal, Value, signed

from setun.hw.technology import Technology

WORD = 32  # columns whose weights, two bits each, fill 64 bits
LEAST = 4  # columns of a row that has such a cell
CODE = 8  # bits of its codes


class SimulatorCells(Technology):
    """Rows that a processor computes fast; a clock of twice the speed would only cost time."""

    fast_clock = False

    def dot(
        self, m: Module, codes: Value, weights: Value, columns: int, width: int
    ) -> Value | None:
        """The cell of `dot_verilog`, where there is one."""
        if columns < LEAST or width != CODE:
            return None
        total = Signal(signed(CODE + columns.bit_length() - 1))
        m.submodules.dot = Instance(
            f"setun_dot_{columns}", i_codes=codes, i_weights=weights, o_sum=total
        )
        return total


SIMULATOR = SimulatorCells()


def dot_verilog(columns: int) -> str:
    """Verilog of the module `setun_dot_COLUMNS`, which rows with `SIMULATOR` instantiate.

    The same number as the adders of a row give, from operations that a processor has: every
    fourth column's code is a byte of one word (SIMD within a register, Lamport 1975). A byte
    holds a product + 128, which leaves it without a carry; 16 bits hold a sum of such bytes.

    Parameters
    ----------
    columns
        A power of two; rows of fewer than 4 have no such cell, and the text is empty.

    Returns
    -------
    str
        Inputs `codes` (8 bits each, in [-127, 127]) and `weights` (bits 1 negative, 0 nonzero),
        output `sum` (8 + log2 columns bits, signed); combinational.
    """
    if columns < LEAST:
        return ""
    size = min(columns, WORD)
    count = size // 4  # codes of a word
    bits = max(8 * count, 16)
    ones, low, bias = (
        _number(value, step, 8 * count) for value, step in ((1, 8), (255, 16), (128, 8))
    )
    lines, halves = [], []
    for first in range(0, columns, size):
        for k in range(4):
            at = first + k
            code = ", ".join(f"codes[{8 * (at + 4 * b)} +: 8]" for b in reversed(range(count)))
            words = {
                "c": f"{{{code}}}",
                "z": f"weights[{2 * first} +: {2 * size}] >> {2 * k} & {ones}",  # nonzero
                "n": f"weights[{2 * first} +: {2 * size}] >> {2 * k + 1} & {ones}",  # negative
                # Bits become bytes; -x is ~x + 1.
                "x": f"(c{at} ^ ((n{at} << 8) - n{at})) & ((z{at} << 8) - z{at})",
                "b": f"(x{at} ^ {bias}) + (z{at} & n{at})",
                "h": f"(b{at} & {low}) + (b{at} >> 8 & {low})",
            }
            lines += [f"  wire [{bits - 1}:0] {n}{at} = {value};" for n, value in words.items()]
            halves.append(f"h{at}")
    fields = " + ".join(f"total[{k} +: 16]" for k in range(0, bits, 16))
    width = 7 + columns.bit_length()
    return "\n".join(
        [
            f"module setun_dot_{columns}(codes, weights, sum);",
            f"  input [{8 * columns - 1}:0] codes;",
            f"  input [{2 * columns - 1}:0] weights;",
            f"  output [{width - 1}:0] sum;",
            *lines,
            f"  wire [{bits - 1}:0] total = {' + '.join(halves)};",
            f"  wire [15:0] positive = {fields};",
            f"  assign sum = positive - 16'd{128 * columns};",
            "endmodule\n",
        ]
    )


def _number(value: int, step: int, bits: int) -> str:
    """`value` at every `step` of `bits` bits."""
    return f"{bits}'h{sum(value << at for at in range(0, bits, step)):x}"
