"""Cells of an iCE40 UltraPlus that units ask for by name."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, Value

from setun.hw.technology import Technology

HALF = 16  # bits of each of a multiplier's two accumulators
WORD = 16  # bits of a word of single-port RAM
# Yosys takes every SB_MAC16 that it finds for a product and sets its options anew, so accumulators
# come under another name, which the family's script turns back.
MAC16 = "SETUN_MAC16"


class Ice40Cells(Technology):
    """Single-port RAM, which starts with anything, and accumulators.

    Parameters
    ----------
    accumulators
        Multipliers to accumulate in; only the family's own flow understands them.
    """

    single_port_ram = True

    def __init__(self, accumulators: int = 0) -> None:
        self.accumulators = accumulators

    def single_port(
        self, m: Module, name: str, *, select: Value, write: Value, address: Value, data: Value
    ) -> Value:
        """One SB_SPRAM256KA."""
        out = Signal(WORD, name=f"{name}_out")
        m.submodules[name] = Instance(
            "SB_SPRAM256KA",
            i_CLOCK=ClockSignal(),
            i_CHIPSELECT=select,
            i_WREN=write,
            i_MASKWREN=Const(0b1111, 4),
            i_ADDRESS=address,
            i_DATAIN=data,
            i_STANDBY=Const(0, 1),
            i_SLEEP=Const(0, 1),
            i_POWEROFF=Const(1, 1),  # low would switch it off
            o_DATAOUT=out,
        )
        return out

    def accumulate(
        self,
        m: Module,
        name: str,
        add: list[Value],
        negative: list[Value],
        code: Value,
        clear: Value,
    ) -> list[Value]:
        """The accumulators of one SB_MAC16."""
        out = Signal(2 * HALF, name=name)
        ports: dict[str, Value] = {f"i_{key}": Const(0, HALF) for key in "CD"}
        ports |= {f"i_{key}": code.as_signed() for key in "AB"}
        for key in (
            "AHOLD",
            "BHOLD",
            "CHOLD",
            "DHOLD",
            "IRSTTOP",
            "IRSTBOT",
            "ORSTTOP",
            "ORSTBOT",
            "CI",
            "ACCUMCI",
            "SIGNEXTIN",
        ):
            ports[f"i_{key}"] = Const(0, 1)
        for key, adds, minus in zip(("TOP", "BOT"), add, negative, strict=True):
            ports[f"i_ADDSUB{key}"] = minus
            ports[f"i_OHOLD{key}"] = ~(clear | adds)
            ports[f"i_OLOAD{key}"] = clear
        m.submodules[name] = Instance(
            MAC16,
            p_TOPOUTPUT_SELECT=Const(1, 2),
            p_BOTOUTPUT_SELECT=Const(1, 2),
            i_CLK=ClockSignal(),
            i_CE=Const(1, 1),
            o_O=out,
            **ports,
        )
        return [out[HALF:].as_signed(), out[:HALF].as_signed()]
