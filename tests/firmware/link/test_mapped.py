"""A mailbox and a memory mapped into a process: files stand for devices."""

import errno
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from setun.firmware.errors import SetunError
from setun.firmware.link import mapped, open_port
from setun.firmware.link.mailbox import IDENTITY, VERSION
from setun.firmware.link.mapped import Mapped, devices, open_memory, place_of
from setun.firmware.link.port import PortGone

PAGE = mmap.PAGESIZE


def device(path: Path, words: list[int], pages: int = 1) -> Path:
    data = np.array(words, "<u4").tobytes()
    path.write_bytes(data + bytes(pages * PAGE - len(data)))
    return path


def uio(system: Path, number: int, name: str, maps: list[tuple[int, int]]) -> None:
    """What Linux tells of a userspace device."""
    folder = system / f"uio{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    for k, (address, size) in enumerate(maps):
        (folder / "maps" / f"map{k}").mkdir(parents=True)
        (folder / "maps" / f"map{k}" / "addr").write_text(f"{address:#010x}\n")
        (folder / "maps" / f"map{k}" / "size").write_text(f"{size:#x}\n")


def refusal(call: Any) -> SetunError:
    with pytest.raises(SetunError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return refused.value


def test_a_port_by_its_name(tmp_path: Path) -> None:
    path = device(tmp_path / "uio0", [IDENTITY, VERSION, 1000 << 16], pages=2)
    with open_port(f"axi:{path}", 9600) as port:
        port.timeout = 0.0
        assert port.read(1) == b""
        assert port.write(b"ab") == 2
    assert path.read_bytes()[0x0C:0x10] == b"\x02ab\0"
    wrong = refusal(lambda: open_port(f"axi:{path}@{PAGE:#x}", 9600))
    assert "identity 4d544553; found 00000000" in str(wrong)


def test_words_and_runs(tmp_path: Path) -> None:
    path = device(tmp_path / "mem", [], pages=3)
    memory = Mapped(str(path), PAGE, 2 * PAGE)
    memory.write(4, 0x01020304)
    assert memory.read(4) == 0x01020304 and memory.read(0) == 0
    for size in (0, 1, 2, 7, 600):
        words = np.arange(5, 5 + size, dtype=np.uint32)
        memory.fill(12, words)
        found = np.frombuffer(path.read_bytes()[PAGE + 12 :], "<u4")
        assert np.array_equal(found[:size], words)
    memory.close()


def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = refusal(lambda: open_port(f"axi:{tmp_path}/uio7", 9600))
    assert isinstance(absent, PortGone) and "device tree" in str(absent)
    short = device(tmp_path / "short", [])
    assert "must have" in str(refusal(lambda: Mapped(str(short), PAGE, PAGE)))
    for name in ("axi:", "axi:@0x1000", "axi:/dev/mem@here", "axi:/dev/mem@0x10", "axi:/d@-4096"):
        monkeypatch.setattr(mapped, "SYSTEM", tmp_path / "none")
        refusal(lambda name=name: open_port(name, 9600))

    def denied(*_: Any) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", denied)
    rule = str(refusal(lambda: open_port("axi:/dev/uio0", 9600)))
    assert 'ATTR{name}=="setun"' in rule and "Permission denied" in rule
    assert "sudo" in str(refusal(lambda: open_port("axi:/dev/mem@0xa0000000", 9600)))


def test_one_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "SYSTEM", tmp_path)
    assert isinstance(refusal(lambda: place_of("axi")), PortGone)
    uio(tmp_path, 0, "dma", [])
    uio(tmp_path, 3, "setun", [])
    assert devices() == ["/dev/uio3"] and place_of("axi") == ("/dev/uio3", 0)
    uio(tmp_path, 4, "setun", [])
    assert "/dev/uio3, /dev/uio4" in str(refusal(lambda: place_of("axi")))
    assert place_of("axi:/dev/mem@0xa0000000") == ("/dev/mem", 0xA0000000)


def test_the_memory_of_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "SYSTEM", tmp_path / "sys")
    path = device(tmp_path / "uio0", [], pages=3)
    uio(tmp_path / "sys", 0, "setun", [(0xA000_0000, PAGE), (0x4000_0000, 2 * PAGE)])
    memory = open_memory(f"axi:{path}", 0x4000_0000, 2 * PAGE)
    memory.fill(PAGE, np.array([7], np.uint32))
    memory.close()
    assert path.read_bytes()[2 * PAGE] == 7
    for first, size in ((0x4000_0000, 2 * PAGE + 4), (0x5000_0000, 4), (0xA000_0000, 4)):
        told = str(refusal(lambda f=first, s=size: open_memory(f"axi:{path}", f, s)))
        assert f"from {first:#x} on" in told
    # Where there is no such device, a physical address.
    plain = device(tmp_path / "mem", [], pages=2)
    memory = open_memory(f"axi:{plain}", PAGE, 8)
    memory.fill(0, np.array([9], np.uint32))
    memory.close()
    assert plain.read_bytes()[PAGE] == 9
