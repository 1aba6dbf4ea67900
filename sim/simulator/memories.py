"""Memory contents kept out of the compiled chip, so that another model needs no compiler."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_IS_DIGIT = np.isin(np.arange(256), [*b"0123456789abcdefABCDEF"])
_NAME = r"(\\\S+(?= )|[A-Za-z_][\w$]*)"
_MODULE = re.compile(rf"\s*module {_NAME}")
_MEMORY = re.compile(rf"\s*reg (?:signed )?(?:\[(\d+):0\] )?{_NAME} *\[(\d+):(\d+)\];")
_BLOCK = re.compile(r"\s*initial begin(?: : \w+)?")
_LOOP = re.compile(r"\s*for \(i = (\d+); i < (\d+); i = i \+ 1\)")
_WORD = re.compile(rf"\s*{_NAME} ?\[(\d+|i)\] = (\d+)'(s?[hdb])([0-9a-fA-F]+);")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory whose contents are a file.

    Members
    -------
    name
        Module and memory, joined by a dot: ``top.array.weights``.
    width
        Bits per word.
    depth
        Words.
    file
        Name of the file with its initial contents, for ``$readmemh``.
    contents
        That file.
    """

    name: str
    width: int
    depth: int
    file: str
    contents: bytes = b""

    def describe(self) -> dict[str, str | int]:
        """Everything but the contents."""
        return {"name": self.name, "width": self.width, "depth": self.depth, "file": self.file}


def memory_file(words: Iterable[int] | NDArray[np.uint8], width: int) -> bytes:
    """Contents of a memory file: one hexadecimal word a line, from address 0.

    ``words`` are taken modulo 2 to the ``width``, so signed values may be given; or they are bytes,
    uint8 [words, ``width`` / 8], lowest first.
    """
    if isinstance(words, np.ndarray):
        lines = np.empty((len(words), width // 4 + 1), np.uint8)
        lines[:, -1] = ord("\n")
        for k, byte in enumerate(words.T[::-1]):
            lines[:, 2 * k], lines[:, 2 * k + 1] = _DIGITS[byte >> 4], _DIGITS[byte & 15]
        return lines.tobytes()
    digits = (width + 3) // 4
    mask = (1 << width) - 1
    return "".join(f"{word & mask:0{digits}x}\n" for word in words).encode()


def check_memory_file(data: bytes, memory: Memory) -> None:
    """Refuse contents that do not fit a memory.

    Raises
    ------
    SetunError
        When a word is not hexadecimal or too wide, or when there are too many or too few.
    """
    if _uniform(data, memory):
        return
    words = data.split()
    if len(words) != memory.depth:
        raise SetunError(memory.name, f"needs {memory.depth} words", len(words))
    digits = (memory.width + 3) // 4
    top = 16 if memory.width % 4 == 0 else 1 << memory.width % 4
    for index, word in enumerate(words):
        ok = len(word) <= digits and not word.strip(b"0123456789abcdefABCDEF")
        if not ok or (len(word) == digits and int(word[:1], 16) >= top):
            found = word[:40].decode("ascii", "replace")
            raise SetunError(
                memory.name, f"word {index} must be hexadecimal, {memory.width} bits", found
            )


def _uniform(data: bytes, memory: Memory) -> bool:
    """Whether these are as many words of whole digits as the memory has, each in a line."""
    digits = memory.width // 4
    if memory.width % 4 or len(data) != memory.depth * (digits + 1):
        return False
    lines = np.frombuffer(data, np.uint8).reshape(memory.depth, digits + 1)
    return bool((lines[:, -1] == ord("\n")).all() and _IS_DIGIT[lines[:, :-1]].all())


def externalise_memories(verilog: str, *, readmemh: bool = True) -> tuple[str, list[Memory]]:
    """Turn initialised memories into files.

    Parameters
    ----------
    verilog
        As Yosys or `setun.hw.emit.conversion` writes it: every memory's contents are one or more
        ``initial`` blocks of word assignments after its declaration, single ones or the same in
        a loop. Blocks of another form, with undefined bits, or of a single word, stay.
    readmemh
        Whether to leave a ``$readmemh`` of the file in the Verilog; without, the memory is
        left undefined for the simulator to fill.

    Returns
    -------
    verilog, memories
        The same hardware; the memories with their contents, in order of appearance.
    """
    lines = verilog.split("\n")
    out: list[str] = []
    taken: set[str] = set()
    memories: list[Memory] = []
    declared: dict[str, tuple[int, int]] = {}
    module = ""
    i = 0
    while i < len(lines):
        line = lines[i]
        i += 1
        if "module" in line and (match := _MODULE.match(line)):
            module = match[1]
            declared = {}
        elif "[" in line and (match := _MEMORY.match(line)):
            width = int(match[1]) + 1 if match[1] else 1
            declared[match[2]] = width, abs(int(match[3]) - int(match[4])) + 1
        elif _BLOCK.fullmatch(line):
            block = _contents(lines, i - 1, declared)
            # A single word is a register to most tools.
            if block is not None and declared[block[0]][1] > 1:
                name, words, i = block
                width, depth = declared[name]
                full = f"{module.lstrip(chr(92))}.{name.lstrip(chr(92))}"
                file = _file_name(full, taken)
                contents = memory_file((words.get(k, 0) for k in range(depth)), width)
                memories.append(
                    Memory(name=full, width=width, depth=depth, file=file, contents=contents)
                )
                if readmemh:
                    out.append(f'  initial $readmemh("{file}", {name} );')
                continue
        out.append(line)
    return "\n".join(out), memories


def find_memory(name: str, memories: list[Memory]) -> Memory:
    """The memory of that name, or the only one whose name ends in it.

    Raises
    ------
    SetunError
        When there is none or more than one.
    """
    found = [m for m in memories if m.name == name]
    found = found or [m for m in memories if m.name.endswith(f".{name}")]
    if len(found) != 1:
        names = ", ".join(m.name for m in found or memories) or "none"
        raise SetunError(f"memory {name}", "must name one memory of the chip", names)
    return found[0]


def _contents(
    lines: list[str], start: int, declared: dict[str, tuple[int, int]]
) -> tuple[str, dict[int, int], int] | None:
    """Name, words and following line of a memory's initial blocks, or None if it is no such."""
    name, words, i = "", dict[int, int](), start
    while i < len(lines) and _BLOCK.fullmatch(lines[i]):
        block = _block(lines, i + 1, declared)
        if block is None or (name and block[0] != name):
            break
        name = block[0]
        words |= block[1]
        i = block[2]
    return (name, words, i) if words else None


def _block(
    lines: list[str], start: int, declared: dict[str, tuple[int, int]]
) -> tuple[str, dict[int, int], int] | None:
    """Name, words and following line of one block, or None if it is no such."""
    name = ""
    words: dict[int, int] = {}
    loop: range | None = None
    for i in range(start, len(lines)):
        if lines[i].strip() == "end":
            return (name, words, i + 1) if words else None
        if lines[i].strip() == "integer i;":
            continue
        if bounds := _LOOP.fullmatch(lines[i]):
            loop = range(int(bounds[1]), int(bounds[2]))
            continue
        match = _WORD.fullmatch(lines[i])
        if not match or match[1] not in declared or (name and match[1] != name):
            return None
        name = match[1]
        if (match[2] == "i") != (loop is not None):
            return None
        addresses = range(int(match[2]), int(match[2]) + 1) if loop is None else loop
        base = {"h": 16, "d": 10, "b": 2}[match[4][-1]]
        try:
            word = int(match[5], base)
        except ValueError:
            return None
        if addresses.stop > declared[name][1]:
            return None
        words |= dict.fromkeys(addresses, word)
        loop = None
    return None


def _file_name(full: str, taken: set[str]) -> str:
    base = re.sub(r"[^\w.-]", "_", full)
    name = f"{base}.hex"
    count = 1
    while name in taken:
        name = f"{base}_{count}.hex"
        count += 1
    taken.add(name)
    return name
