"""Programs behind `python -m`: each tells its options, and refuses in a line."""

import importlib.util
import runpy
import sys
from collections.abc import Callable

import pytest

from bench.folders import ROOT
from setun.firmware.errors import SetunError
from setun.programs import run

FOLDERS = ("setun", "firmware", "hw", "sim", "train")
GUARD = 'if __name__ == "__main__":'


def programs() -> list[str]:
    """Modules that are programs, but for the verbs' own, and files that make the docs."""
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if GUARD in path.read_text("utf-8") and path.name != "__main__.py":
                parts = path.relative_to(ROOT).with_suffix("").parts
                found.append(".".join(parts if folder == "setun" else ("setun", *parts)))
    return found + sorted(str(path) for path in (ROOT / "docs" / "make").glob("*.py"))


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", programs())
@pytest.mark.parametrize(("option", "status"), [("--help", 0), ("--nonsense", 2)])
def test_options_are_told(
    name: str,
    option: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if name.startswith("setun.train") and importlib.util.find_spec("torch") is None:
        pytest.skip("needs PyTorch")
    monkeypatch.setattr(sys, "argv", [name, option])
    with pytest.raises(SystemExit) as ended:
        if name.endswith(".py"):
            runpy.run_path(name, run_name="__main__")
        else:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
    said = capsys.readouterr()
    assert ended.value.code == status
    assert (said.err if status else said.out).startswith("usage: ")


def refuse() -> None:
    raise SetunError("thing", "must be another", 3)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("main", "status", "line"),
    [
        (refuse, 1, "setun: error: thing: must be another; found 3\n"),
        (interrupt, 130, "setun: error: interrupted\n"),
    ],
)
def test_a_program_ends_in_a_line(
    main: Callable[[], None], status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == status and capsys.readouterr().err == line
