"""Families of FPGAs that Setun knows: one list."""

from setun.firmware.errors import SetunError
from setun.hw.fpga.ecp5.family import Ecp5
from setun.hw.fpga.family import Family
from setun.hw.fpga.ice40.family import Ice40

GENERIC, ECP5, ICE40 = Family(), Ecp5(), Ice40()
FAMILIES: dict[str, Family] = {each.name: each for each in (GENERIC, ECP5, ICE40)}


def family(name: str) -> Family:
    """The family called so; SetunError for one that is not known."""
    if name not in FAMILIES:
        raise SetunError("FPGA family", f"must be one of {', '.join(FAMILIES)}", name)
    return FAMILIES[name]
