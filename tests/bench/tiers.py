"""Which tests `make test` leaves to CI."""

from pathlib import Path

ESSENTIAL = Path(__file__).parents[1] / "essential.txt"


def essential() -> list[str]:
    """Names of tests, with or without their parameters, that CI runs and `make test` does not."""
    lines = ESSENTIAL.read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
