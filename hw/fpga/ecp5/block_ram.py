"""Contents of an ECP5's block RAM in the files of the tools."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.hw.fpga.flow.bit_map import BLOCK_BITS, BYTES, Block

# 2,048 bytes of nine bits follow the number of the block, in as many hexadecimal numbers.
_SECTION = re.compile(r"^\.bram_init (\d+)\n((?:[0-9a-f ]+\n)*)", re.MULTILINE)
_A_LINE = 8
_PLACES = np.arange(9, dtype=np.uint16)


class Ecp5Patching:
    """Contents of DP16KD; see `setun.hw.fpga.family.Patching`."""

    def netlist_blocks(self, netlist: Mapping[str, Any]) -> dict[str, Block]:
        """Blocks of a netlist of Yosys' `write_json`, by the cell's name.

        A parameter INITVAL_xx has sixteen numbers of two bytes, each of them in 20 bits.
        """
        found = {}
        for module in netlist["modules"].values():
            for name, cell in module["cells"].items():
                if cell["type"] != "DP16KD":
                    continue
                bits = np.zeros((64, 16, 20), np.uint8)
                for k in range(64):
                    text = cell["parameters"].get(f"INITVAL_{k:02X}", "0").zfill(320)
                    bits[k] = (np.frombuffer(text[::-1].encode(), np.uint8) & 1).reshape(16, 20)
                found[name] = np.ascontiguousarray(bits[:, :, :18]).reshape(BYTES, 9)
        return found

    def placed_blocks(self, text: str) -> dict[int, Block]:
        """Blocks of a placed chip as nextpnr wrote it, by number; SetunError for other text."""
        found = {}
        for section in _SECTION.finditer(text):
            values = section[2].split()
            if len(values) != BYTES or any(len(value) != 3 or value > "1ff" for value in values):
                raise SetunError(
                    f"block RAM {section[1]}",
                    f"must have {BYTES} numbers of nine bits",
                    len(values),
                )
            numbers = np.array([int(value, 16) for value in values], np.uint16)
            found[int(section[1])] = (numbers[:, None] >> _PLACES & 1).astype(np.uint8)
        return found

    def with_blocks(self, text: str, blocks: Mapping[int, Block]) -> str:
        """The placed chip with these blocks; SetunError where it lacks one of them."""
        left = set(blocks)

        def section(found: re.Match[str]) -> str:
            number = int(found[1])
            if number not in blocks:
                return found[0]
            left.discard(number)
            return f".bram_init {number}\n{_lines(blocks[number])}"

        text = _SECTION.sub(section, text)
        if left:
            raise SetunError(
                "placed chip", "must have the block RAM that holds the model", min(left)
            )
        return text


def _lines(block: NDArray[np.uint8]) -> str:
    assert block.size == BLOCK_BITS
    numbers = (block.astype(np.uint16) << _PLACES).sum(1)
    lines = [
        " ".join(f"{number:03x}" for number in numbers[k : k + _A_LINE])
        for k in range(0, BYTES, _A_LINE)
    ]
    return "\n".join(lines) + "\n"
