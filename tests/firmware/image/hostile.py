"""A small image, its file, and what a hostile writer who knows how to make CRCs does to it."""

import dataclasses
import json
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from bench.folders import SMALL_DEMO, VECTORS
from setun.firmware.errors import SetunError
from setun.firmware.image import container
from setun.firmware.image import file as image_file
from setun.firmware.image.container import Section
from setun.firmware.image.image import Image
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.program.isa import Instruction

MODELS = [VECTORS / "a_h64_l2", VECTORS / "d_h64_l3_nolb", SMALL_DEMO]
SMALL = compile_checkpoint(load_checkpoint(MODELS[0]))
DATA = image_file.dump(SMALL)
DEFAULTS = {
    f.name: f.default.name if isinstance(f.default, IntEnum) else f.default
    for f in dataclasses.fields(Instruction)
}


def assert_equal(a: Image, b: Image) -> None:
    for field in dataclasses.fields(Image):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name == "tables":
            assert list(x) == list(y)
            for table in x:
                assert x[table].dtype == y[table].dtype and np.array_equal(x[table], y[table])
        elif field.name == "matrices":
            for m, n in zip(x, y, strict=True):
                assert (m.name, m.scale, m.codes().dtype) == (n.name, n.scale, n.codes().dtype)
                assert np.array_equal(m.codes(), n.codes())
        else:
            assert x == y, field.name


def refusal(data: bytes) -> str:
    with pytest.raises(SetunError) as caught:
        image_file.parse(data, "m.setun")
    line = str(caught.value)
    assert line.startswith("m.setun") and "\n" not in line and len(line) < 600
    return line


def rewritten(
    change: Callable[[dict[str, Any], dict[str, Section]], None],
) -> bytes:
    """The small image changed by a hostile writer who knows how to make CRCs."""
    header, sections = container.parse(DATA, "x")
    header = json.loads(json.dumps(header))
    change(header, sections)
    return container.dump(header, list(sections.values()))


def with_program(edit: Callable[[list[dict[str, Any]]], None]) -> bytes:
    def change(header: dict[str, Any], sections: dict[str, Section]) -> None:
        program = json.loads(bytes(sections["program"].data))
        edit(program)
        for i in program:
            for name, default in DEFAULTS.items():  # the order and the omissions of the format
                if isinstance(i, dict) and name in i and (value := i.pop(name)) != default:
                    i[name] = value
        lines = ",\n".join(json.dumps(i, separators=(",", ":")) for i in program)
        data = f"[\n{lines}\n]\n".encode()
        sections["program"] = Section("program", "program", data)

    return rewritten(change)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 1 << 33),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["COPY", "MLGRU", "GLU", "ADD", "SAMPLE", "END", "EMBED", "OWN", "ARRAY"]),
    st.lists(st.integers(0, 3), max_size=2),
)


def survives(data: bytes) -> None:
    """Either refused in one line, or what was loaded is worth its own file."""
    try:
        file = image_file.parse(data, "m.setun")
    except SetunError as error:
        assert "\n" not in str(error)
    else:
        assert_equal(image_file.parse(image_file.dump(file.image)).image, file.image)
