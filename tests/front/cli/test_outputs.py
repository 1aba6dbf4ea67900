"""Every verb that writes, with outputs that are no regular file."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firmware.models.chains import chain, following, write
from firmware.models.layouts import llama_json
from front.cli.test_shell import setun
from setun import cli

BEFORE = b"what was there"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chain") / "checkpoint"
    return write(folder, *chain(following([5, 6, 7]), 277), llama_json())


@pytest.fixture(scope="module")
def ids(model: Path) -> Path:
    file = model.parent / "ids.npy"
    np.save(file, np.arange(4))
    return file


@pytest.fixture(params=["import", "logits"])
def writing(request: pytest.FixtureRequest, model: Path, ids: Path) -> Callable[..., list[str]]:
    """Command lines that write one file."""
    lines = {
        "import": ["import", str(model), "-o"],
        "logits": ["logits", str(model), "--ids", str(ids), "--backend", "float", "-o"],
    }
    return lambda output: [*lines[request.param], str(output)]


def whole(data: bytes) -> bool:
    return data.startswith((b"\x93SETUN", b"\x93NUMPY"))


def test_a_file(writing, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    output.write_bytes(BEFORE)
    assert cli.run(writing(output)) == 0
    assert whole(output.read_bytes())
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_written(writing, tmp_path: Path, there: bool) -> None:
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.parent.mkdir()
    if there:
        target.write_bytes(BEFORE)
    link.symlink_to("folder/target")
    assert cli.run(writing(link)) == 0
    assert link.is_symlink() and whole(target.read_bytes())


def test_a_device_stays_one(writing) -> None:
    assert cli.run(writing("/dev/null")) == 0
    assert Path("/dev/null").is_char_device()


def test_a_full_device(writing, capsys) -> None:
    assert cli.run(writing("/dev/full")) == 1
    assert capsys.readouterr().err == (
        "setun: error: /dev/full: must be writable; found No space left on device\n"
    )
    assert Path("/dev/full").is_char_device()


def test_a_pipe_with_a_name(writing, tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    assert cli.run(writing(pipe)) == 0
    reader.join()
    assert whole(read[0]) and pipe.is_fifo()


def test_a_pipe_of_a_shell(writing) -> None:
    """What >(…) gives."""
    read, wrote = os.pipe()
    data: list[bytes] = []

    def all_of_it() -> None:
        with os.fdopen(read, "rb") as file:
            data.append(file.read())

    reader = threading.Thread(target=all_of_it)
    reader.start()
    assert cli.run(writing(f"/dev/fd/{wrote}")) == 0
    os.close(wrote)
    reader.join()
    assert whole(data[0])


def test_stdout_has_the_file_alone(writing) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "setun", *writing("/dev/stdout")]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0 and whole(done.stdout), done.stderr
    assert b"/dev/stdout: " in done.stderr and b"/dev/stdout: " not in done.stdout
    both = setun(*writing("/dev/stdout"), "--json")
    assert (both.returncode, both.stdout) == (1, "")
    assert "must not be stdout with --json (name a file)" in both.stderr


def test_stdout_that_is_a_file(writing, tmp_path: Path) -> None:
    import subprocess
    import sys

    file = tmp_path / "out"
    with file.open("wb") as output:
        command = [sys.executable, "-m", "setun", *writing("/dev/stdout")]
        assert subprocess.run(command, stdout=output, stderr=subprocess.PIPE).returncode == 0
    assert whole(file.read_bytes())


def folder(path: Path) -> None:
    path.mkdir()


def nowhere(path: Path) -> None:
    pass


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "below", "found"),
    [
        (folder, "", "must be a file; found a folder"),
        (loop, "", "must be writable; found Too many levels of symbolic links"),
        (nowhere, "file", "must be writable; found No such file or directory"),
        (Path.touch, "file", "must be writable; found Not a directory"),
        (nowhere, "n" * 300, "must be writable; found "),
    ],
)
def test_refused_before_any_work(writing, tmp_path: Path, capsys, make, below, found) -> None:
    place = tmp_path / "out"
    make(place)
    output = place / below
    before = os.listdir(tmp_path)
    assert cli.run(writing(output)) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"setun: error: {output}: {found}") and error.count("\n") == 1
    assert os.listdir(tmp_path) == before


def test_a_disk_is_refused(writing, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stat.S_ISBLK", lambda mode: True)
    assert cli.run(writing("/dev/zero")) == 1
    assert "must be a file; found a disk" in capsys.readouterr().err


FOLDERS = {
    "generate": ["generate", "-o"],
    "build": ["build", "--board", "generic-axi4", "-o"],
    "build-ecp5": ["build", "--board", "ulx3s-85f", "-o"],
    "explore": ["explore", "--board", "ulx3s-25f", "--estimate-only", "-o"],
}


@pytest.mark.parametrize("line", FOLDERS)
@pytest.mark.parametrize(
    ("make", "below"), [(Path.touch, ""), (os.mkfifo, ""), (loop, ""), (Path.touch, "below/it")]
)
def test_folders_that_are_none(tmp_path: Path, capsys, line: str, make, below: str) -> None:
    place = tmp_path / "out"
    make(place)
    assert cli.run([*FOLDERS[line], str(place / below)]) == 1
    assert capsys.readouterr().err == (
        f"setun: error: {place}: must be a folder; found something else\n"
    )


SMALL = [word for name in ("rows", "columns", "lanes") for word in ("--set", f"{name}=4")]


def test_files_of_a_folder_that_are_links_devices_or_folders(tmp_path: Path, capsys) -> None:
    out, target = tmp_path / "out", tmp_path / "target"
    out.mkdir()
    (out / "setun.v").symlink_to("/dev/null")
    (out / "ports.json").symlink_to(target)
    (out / "config.toml").mkdir()
    assert cli.run(["generate", *SMALL, "-o", str(out)]) == 1
    assert "config.toml: must be a file; found a folder" in capsys.readouterr().err
    assert (out / "setun.v").is_char_device() and (out / "ports.json").is_symlink()
    assert json.loads(target.read_bytes())
