"""Cells of an ECP5 that units ask for by name."""

from amaranth.hdl import C, Instance, Module, Signal, Value, signed

from setun.hw.technology import Technology

# Sum bit A ^ (C & (B ^ D)). The cell hands on its low four bits, A, where this is 0: there A is
# the other addend too.
ADD_MASKED = sum(((i ^ (i >> 2 & (i >> 1 ^ i >> 3))) & 1) << i for i in range(16))
# With C = 1 the sum is 0 whatever enters from below, and A & B goes up: nextpnr would feed a
# constant carry in through a cell of its own.
FIRST_CARRY = 0x0008


class Ecp5Cells(Technology):
    """Masks inside of the carry cells."""

    def add_masked(
        self, m: Module, a: Value, b: Value, weight: Value, one: Value, name: str
    ) -> Value:
        """One LUT4 with carry per bit and one more, rounded up to even.

        Yosys would spend another LUT4 per bit on the mask.
        """
        total = Signal(signed(len(a)), name=name)
        zero, high = C(0, 1), C(1, 1)
        halves = [(FIRST_CARRY, one[0], one[1], high, high, None)]
        halves += [(ADD_MASKED, a[i], b[i], *weight, total[i]) for i in range(len(a))]
        if len(halves) % 2:
            halves.append((0, zero, zero, zero, zero, None))
        carry = None
        for k in range(0, len(halves), 2):
            ports: dict[str, object] = {}
            for half, (init, *operands, bit) in enumerate(halves[k : k + 2]):
                ports |= {f"p_INIT{half}": C(init, 16), f"p_INJECT1_{half}": "NO"}
                ports |= {f"i_{x}{half}": v for x, v in zip("ABCD", operands, strict=True)}
                if bit is not None:
                    ports[f"o_S{half}"] = bit
            if carry is not None:
                ports["i_CIN"] = carry
            if k + 2 < len(halves):
                ports["o_COUT"] = carry = Signal(name=f"{name}_carry{k}")
            m.submodules[f"{name}_{k // 2}"] = Instance("CCU2C", **ports)
        return total
