"""Settings of the phase-locked loop of an iCE40 UltraPlus."""

from dataclasses import dataclass

from setun.firmware.errors import SetunError

# SB_PLL40 of the UltraPlus (Lattice FPGA-DS-02008, FPGA-TN-02052), in MHz.
OSCILLATOR_MHZ = (533.0, 1066.0)
OUTPUT_MHZ = (16.0, 275.0)
DETECTOR_MHZ = (10.0, 133.0)
FILTERS = ((17.0, 1), (26.0, 2), (44.0, 3), (66.0, 4), (101.0, 5))
TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Ice40Pll:
    """Dividers, as SB_PLL40 takes them: output = input · (divf + 1) / (divr + 1) / 2**divq."""

    divr: int
    divf: int
    divq: int
    filter_range: int


def ice40_pll(input_mhz: float, clock_mhz: float) -> Ice40Pll | None:
    """Settings for `clock_mhz` within 0.1 %; None where it is the oscillator's clock itself.

    Raises
    ------
    SetunError
        The PLL does not make it; names the nearest clock.
    """
    if clock_mhz == input_mhz:
        return None
    found: list[tuple[float, float, Ice40Pll]] = []
    for divr in range(16):
        detector = input_mhz / (divr + 1)
        if not DETECTOR_MHZ[0] <= detector <= DETECTOR_MHZ[1]:
            continue
        wide = next((number for limit, number in FILTERS if detector < limit), 6)
        for divf in range(128):
            oscillator = detector * (divf + 1)
            for divq in range(1, 7):
                output = oscillator / (1 << divq)
                inside = OSCILLATOR_MHZ[0] <= oscillator <= OSCILLATOR_MHZ[1]
                if inside and OUTPUT_MHZ[0] <= output <= OUTPUT_MHZ[1]:
                    settings = Ice40Pll(divr=divr, divf=divf, divq=divq, filter_range=wide)
                    found.append((abs(output - clock_mhz), output, settings))
    if not found:
        raise SetunError("board clock", "must be one that the PLL takes", f"{input_mhz:g} MHz")
    error, output, settings = min(found, key=lambda one: (one[0], one[2].divr))
    if error > TOLERANCE * clock_mhz:
        raise SetunError(
            "clock",
            f"must be {input_mhz:g} MHz or one that the PLL makes from it",
            f"{clock_mhz:g} MHz",
            f"nearest is {output:.6g} MHz",
        )
    return settings
