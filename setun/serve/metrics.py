"""Figures in the text format of Prometheus."""

from collections.abc import Iterable, Mapping

from setun.serve.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Values = Iterable[tuple[Mapping[str, str], float]]  # labels, and what they count


def metrics(service: Service) -> str:
    """All figures of a server."""
    pool, tally, boards = service.pool, service.pool.tally, service.boards
    named = [({"board": board.name}, board) for board in boards]
    tokens = [({"kind": kind}, _sum(tally.of(f"{kind}_tokens"))) for kind in _KINDS]
    answers = [({"outcome": label}, n) for label, n in sorted(tally.of("answers").items())]
    errors = [({"status": label}, n) for label, n in sorted(tally.of("errors").items())]
    losses = tally.of("losses")
    counted = [
        ({**labels, "counter": name}, value)
        for labels, board in named
        for name, value in board.counters.items()
    ]
    paces = [(labels, board.cycles_per_token) for labels, board in named if board.cycles_per_token]
    families: list[tuple[str, str, str, Values]] = [
        ("tokens_total", "counter", "Tokens fed, sampled, and found in a context.", tokens),
        ("answers_total", "counter", "Answers by how they ended.", answers),
        ("errors_total", "counter", "Replies that were errors, by HTTP status.", errors),
        (
            "mismatches_total",
            "counter",
            "Tokens that were not the golden model's.",
            [({}, _sum(tally.of("mismatches")))],
        ),
        ("queue_length", "gauge", "Answers that wait for a context.", [({}, pool.waiting)]),
        ("board_up", "gauge", "Whether the board is there.", [(b, x.up) for b, x in named]),
        (
            "board_losses_total",
            "counter",
            "How often it was gone.",
            [(b, losses.get(x.name, 0)) for b, x in named],
        ),
        ("contexts", "gauge", "Conversations it holds.", [(b, len(x.contexts)) for b, x in named]),
        ("contexts_in_use", "gauge", "Those that work.", [(b, x.working) for b, x in named]),
        ("cycles_per_token", "gauge", "Clock cycles, of the answer that ended last.", paces),
        (
            "tokens_per_second",
            "gauge",
            "Tokens that came lately, by the wall clock.",
            [(b, x.pace.tokens_per_second()) for b, x in named],
        ),
        ("chip_total", "counter", "The chip's own counters.", counted),
    ]
    return "".join(_family(*family) for family in families)


_KINDS = ("prompt", "completion", "cached")


def _sum(counts: Mapping[str, float]) -> float:
    return sum(counts.values())


def _family(name: str, kind: str, about: str, values: Values) -> str:
    lines = [f"# HELP setun_{name} {about}", f"# TYPE setun_{name} {kind}"]
    for labels, value in values:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        number = float(value)
        shown = int(number) if number.is_integer() else number
        lines.append(f"setun_{name}{f'{{{inner}}}' if inner else ''} {shown}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
