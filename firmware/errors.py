"""The one error type that users see."""

from collections.abc import Iterable
from difflib import get_close_matches


class SetunError(Exception):
    """A refusal with everything a person needs to act on it, printed as one line.

    Parameters
    ----------
    thing
        What was refused: a file, option, tensor, frame, port.
    rule
        What must hold.
    value
        What was found instead; empty when there is nothing to show.
    fix
        What to do about it; empty when the rule says it already.
    """

    def __init__(self, thing: str, rule: str, value: object = "", fix: str = "") -> None:
        self.thing = thing
        self.rule = rule
        self.value = str(value)
        self.fix = fix
        super().__init__(thing, rule, value, fix)

    def __str__(self) -> str:
        line = f"{self.thing}: {self.rule}"
        if self.value:
            line += f"; found {self.value}"
        if self.fix:
            line += f" ({self.fix})"
        return " ".join(line.split())


def nearest(value: str, known: Iterable[str]) -> str:
    """A hint at the name that was probably meant, "" where none is like it."""
    found = get_close_matches(value, list(known), n=1, cutoff=0.7)
    return f"did you mean {found[0]}?" if found else ""
