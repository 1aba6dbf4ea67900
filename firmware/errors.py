"""The one error type that users see."""


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
