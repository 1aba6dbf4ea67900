"""Settings of the ECP5's phase-locked loop (Lattice FPGA-TN-02200)."""

from dataclasses import dataclass

from setun.firmware.errors import SetunError

TOLERANCE = 1e-3
PHASE_DETECTOR_MHZ = (3.125, 400.0)
OSCILLATOR_MHZ = (400.0, 800.0)
OUTPUT_MHZ = (3.125, 400.0)
DIVIDERS = range(1, 129)


@dataclass(frozen=True, kw_only=True)
class PllSettings:
    """Dividers of an EHXPLLL whose feedback is its own output.

    output = input · feedback / reference; oscillator = output · post.
    """

    reference: int
    feedback: int
    post: int
    output_mhz: float


def pll_settings(input_mhz: float, clock_mhz: float, pump: int = 1) -> PllSettings:
    """Dividers for the clock nearest to `pump` times `clock_mhz`.

    Of equally near ones, the fastest phase detector (least jitter), then the oscillator
    nearest to the middle of its range.

    Raises
    ------
    SetunError
        No setting comes within 0.1 %; names the nearest clock.
    """
    best: tuple[tuple[float, float, float], PllSettings] | None = None
    output_mhz = clock_mhz * pump
    middle = sum(OSCILLATOR_MHZ) / 2
    for reference in DIVIDERS:
        detector = input_mhz / reference
        if not PHASE_DETECTOR_MHZ[0] <= detector <= PHASE_DETECTOR_MHZ[1]:
            continue
        for feedback in DIVIDERS[:80]:
            output = detector * feedback
            post = max(1, round(middle / output))
            if not OUTPUT_MHZ[0] <= output <= OUTPUT_MHZ[1] or post not in DIVIDERS:
                continue
            if not OSCILLATOR_MHZ[0] <= output * post <= OSCILLATOR_MHZ[1]:
                continue
            error = round(abs(output - output_mhz), 9)
            rank = (error, -detector, abs(output * post - middle))
            if best is None or rank < best[0]:
                settings = PllSettings(
                    reference=reference, feedback=feedback, post=post, output_mhz=output
                )
                best = (rank, settings)
    if best is None:
        raise SetunError("board clock", "must be one that the PLL takes", f"{input_mhz:g} MHz")
    if best[0][0] > TOLERANCE * output_mhz:
        raise SetunError(
            "clock",
            f"must be within 0.1 % of one that the PLL makes from {input_mhz:g} MHz",
            f"{clock_mhz:g} MHz" + (f" times {pump}" if pump > 1 else ""),
            f"nearest is {best[1].output_mhz / pump:.6g} MHz",
        )
    return best[1]
