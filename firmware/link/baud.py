"""Bit rates of the UART: which ones a port has, and which ones a clock divides into."""

from setun.firmware.errors import SetunError

MIN_BAUD = 300
MAX_BAUD = 12_000_000
MIN_DIVISOR = 4
TOLERANCE = 0.02


def divisor_for(clock_hz: float, baud: int) -> int:
    """Clock cycles per bit for the gateware's UART.

    Raises
    ------
    SetunError
        Fewer than 4 cycles per bit, or rounding misses the rate by more than 2 %.
    """
    if baud < 1:
        raise SetunError("baud", "must be at least 1", baud)
    divisor = round(clock_hz / baud)
    if divisor < MIN_DIVISOR:
        raise SetunError(
            "baud",
            f"must be at most a {MIN_DIVISOR}th of the clock",
            f"{baud} baud at {clock_hz / 1e6:g} MHz",
            f"use {int(clock_hz // MIN_DIVISOR)} or less",
        )
    error = abs(clock_hz / divisor / baud - 1)
    if error > TOLERANCE:
        raise SetunError(
            "baud",
            f"must be within {TOLERANCE:.0%} of the clock over a whole number",
            f"{baud} baud at {clock_hz / 1e6:g} MHz, {error:.1%} off",
            f"use {round(clock_hz / divisor)}",
        )
    return divisor


def check_baud(baud: int) -> None:
    """Refuse a baud rate that no port has.

    Raises
    ------
    SetunError
        Outside 300 … 12,000,000.
    """
    if not MIN_BAUD <= baud <= MAX_BAUD:
        raise SetunError(
            "baud rate", f"between {MIN_BAUD} and {MAX_BAUD}", baud, "a usual one is 115200"
        )
