"""Routing that goes in circles, told from nextpnr's log."""

import re

from setun.firmware.errors import SetunError

PATIENCE = 10  # rounds without fewer conflicts
WORSE = 1.5  # times the fewest
FEW = 50  # conflicts that are solved one by one, however many rounds it takes

_ROUND = re.compile(r"^Info:\s+iter=(\d+) .*\boverused=(\d+)", re.MULTILINE)


class Unroutable(SetunError):
    """A placement whose wires do not find ways beside each other."""


def circling(log: str) -> Unroutable | None:
    """What is wrong with a routing whose conflicts grow again, if they do.

    nextpnr's router2 takes every wire that two nets want away from one of them, round by round,
    and has no limit on rounds. Of the chips here those that routed had fewer conflicts in every
    round or two; those that did not went on for hours. The answer depends on the log alone.
    """
    fewest, at = None, 0
    for found in _ROUND.finditer(log):
        number, conflicts = int(found[1]), int(found[2])
        if fewest is None or conflicts < fewest:
            fewest, at = conflicts, number
        elif fewest > FEW and number >= at + PATIENCE and conflicts >= WORSE * fewest:
            return Unroutable(
                "placement",
                "must route",
                f"{conflicts} wires wanted twice in round {number}, {fewest} in round {at}",
                "another --seed",
            )
    return None
