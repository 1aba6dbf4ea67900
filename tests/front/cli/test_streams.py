"""Every verb with each of its standard streams closed, full, broken or of a narrow encoding."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware.models.chains import chain, following, write
from firmware.models.layouts import llama_json
from front.cli import forked
from setun.cli import VERBS
from setun.firmware.models.tokenizer import Tokenizer

PORT = ["--port", "/nonexistent/port"]
# Lines that end soon, where a verb's work is long: refused.
LINES: dict[str, list[str]] = {
    "boards": [],
    "doctor": [],
    "inspect": ["M"],
    "run": ["M", "-n", "8", "--prompt", "a"],
    "estimate": ["--board", "icebreaker", "--model", "M"],
    "import": ["M", "-o", "OUT/m.setun"],
    "logits": ["M", "--ids", "IDS", "--backend", "float", "-o", "OUT/l.npy"],
    "eval": ["M", "--text", "TEXT", "--tokens", "9"],
    "generate": ["-o", "OUT/v", "--set", "rows=0"],
    "build": ["--board", "nonsense", "-o", "OUT/b"],
    "explore": ["--board", "nonsense"],
    "flash": ["--board", "icebreaker", "OUT/none"],
    "load": ["M", *PORT],
    "stream": PORT,
    "serve": ["M", "--listen", "70000"],
    "bench": ["--config", "nonsense"],
    "demo": ["--temperature", "-1"],
    "train": ["--text", "TEXT", "-o", "TEXT"],
}
BROKEN: dict[str, dict[str, Any]] = {
    "usual": {},
    "json": {"json": True},
    "stdin closed": {"closed": [0]},
    "stdout closed": {"closed": [1]},
    "stdout full": {"full": [1]},
    "stdout full, json": {"full": [1], "json": True},
    "nobody reads": {"broken": True},
    "stderr closed": {"closed": [2]},
    "stderr full": {"full": [2]},
    "all closed": {"closed": [0, 1, 2]},
    "all full": {"full": [1, 2]},
    "ascii": {"encoding": "ascii"},
    "latin-1": {"encoding": "latin-1"},
    "cp1252": {"encoding": "cp1252"},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model that says "é", a space, an emoji and a line's end; files for it."""
    folder = tmp_path_factory.mktemp("streams")
    tokenizer = Tokenizer.from_json(llama_json(), 277)
    said = tokenizer.encode("é 🙂\n", begins=False)
    config, tensors = chain(following(said) | {tokenizer.encode("a")[-1]: said[0]}, 277)
    write(folder / "model", config, tensors, llama_json())
    np.save(folder / "ids.npy", np.arange(4))
    (folder / "text").write_text("a b c" * 20)
    (folder / "out").mkdir()
    names = {"M": "model", "IDS": "ids.npy", "TEXT": "text", "OUT": "out"}
    return {short: str(folder / name) for short, name in names.items()}


def line(verb: str, places: dict[str, str]) -> list[str]:
    words = []
    for word in LINES[verb]:
        head, slash, tail = word.partition("/")
        words.append(places.get(head, head) + slash + tail)
    return [verb, *words]


def forks(cases: list[dict[str, Any]], folder: Path) -> list[tuple[int, str, str]]:
    file = folder / "cases.json"
    file.write_text(json.dumps(cases))
    done = subprocess.run(
        [sys.executable, forked.__file__, str(file)], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return [tuple(each) for each in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.parametrize("verb", VERBS)
def test_standard_streams(verb: str, places: dict[str, str], tmp_path: Path) -> None:
    args = line(verb, places)
    cases = [
        {"args": [*args, *["--json"] * case.get("json", False)], **case} for case in BROKEN.values()
    ]
    found = dict(zip(BROKEN, forks(cases, tmp_path), strict=True))
    status, printed, told = found["usual"]
    assert status in (0, 1), told
    for name, (code, out, err) in found.items():
        case = BROKEN[name]
        where = f"{name}: status {code}\n{out}\n{err}"
        assert "Traceback" not in err and "Exception" not in err, where
        assert sum("error:" in shown for shown in err.splitlines()) <= 1, where
        closed, full = case.get("closed", []), case.get("full", [])
        lost = 1 in closed or 1 in full or case.get("broken")
        if (lost and printed) or (told and 2 in full):
            assert code == (status or 1), where
            if full == [1]:
                assert "stdout: No space left on device" in err, where
        else:
            assert code == status, where
        if (0 in closed or 2 in closed) and not lost:
            assert out.count("\n") == printed.count("\n"), where
    assert found["json"][0] != 0 or json.loads(found["json"][1])


def test_what_an_encoding_lacks_is_replaced(places: dict[str, str], tmp_path: Path) -> None:
    args = line("run", places)
    cases = [{"args": args, "encoding": name} for name in ("utf-8", "ascii", "latin-1", "cp1252")]
    texts = [out for _, out, _ in forks(cases, tmp_path)]
    assert texts[0].startswith("é 🙂\n")
    assert texts[1] == texts[0]  # the C locale: Click takes it for UTF-8
    for text in texts[2:]:  # read back as UTF-8
        assert text == texts[0].replace("é", "\ufffd").replace("🙂", "?")


@pytest.mark.parametrize(
    ("command", "status", "error"),
    [
        ("boards >&-", 1, "setun: error: stdout: Bad file descriptor\n"),
        ("boards --json >/dev/full", 1, "setun: error: stdout: No space left on device\n"),
        ("--version >/dev/full", 1, "setun: error: stdout: No space left on device\n"),
        ("boards x 2>/dev/full", 2, ""),
        ("boards >&- 2>&- <&-", 1, ""),
    ],
)
def test_streams_of_a_shell(command: str, status: int, error: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m setun {command}', sys.executable], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (status, error)


def test_programs_behind_python_have_them_too() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m setun.sim.studies.sums --help >/dev/full', sys.executable],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "setun: error: stdout: No space left on device\n",
    )


def test_lines_of_a_closed_stdin_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from setun.cli.stream import piped
    from setun.firmware.errors import SetunError

    with open("/dev/null", "w") as unreadable, open(unreadable.fileno(), closefd=False) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(SetunError, match="stdin: must be readable"):
            list(piped())
