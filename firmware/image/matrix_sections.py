"""Sections of an image file that hold matrices; their kinds are in the table of `file`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.image.container import Section
from setun.firmware.image.grouped_matrix import GroupedMatrix, grouped_row_bytes
from setun.firmware.image.matrix import Matrix, PackedMatrix
from setun.firmware.image.wide_matrix import SCALE_BYTES, WideMatrix
from setun.firmware.numerics.grouped import GROUP
from setun.firmware.numerics.ternary import PACKING, Bytes

_TERNARY, _WIDE, _GROUPED = "ternary", "5t", "grouped"


def described(matrix: Matrix, packing: str) -> Section:
    """The section of a matrix in a file with this packing."""
    meta: dict[str, Any] = {"rows": matrix.rows, "columns": matrix.columns}
    kind = _WIDE if matrix.planes > 1 else _GROUPED if matrix.group else _TERNARY
    if kind == _TERNARY:
        meta["scale"] = matrix.scale
    return Section(matrix.name, kind, view(matrix.packed(packing)), meta)


def view(values: NDArray[Any]) -> memoryview:
    """An array's bytes, not copied if they lie in order."""
    return np.ascontiguousarray(values).data.cast("B")


def is_count(value: object) -> bool:
    """Whether it is a whole number above 0."""
    return type(value) is int and value >= 1


def read_matrix(section: Section, packing: str, flat: bool, source: str) -> Matrix:
    """The matrix of a section; `flat` is format 1's, whose rows share bytes.

    Raises
    ------
    SetunError
        The section is of another kind, or its length is not that of its shape.
    """
    thing, meta, kind = f"{source} section {section.name}", section.meta, section.kind
    if kind not in (_TERNARY, *(() if flat else (_WIDE, _GROUPED))):
        raise SetunError(thing, "must be known or of kind ternary", kind)
    shaped = is_count(meta.get("rows")) and is_count(meta.get("columns"))
    if not shaped or (kind == _TERNARY and type(meta.get("scale")) is not float):
        what = "rows, columns and a scale" if kind == _TERNARY else "rows and columns"
        raise SetunError(thing, f"must have {what}")
    rows, columns = meta["rows"], meta["columns"]
    if kind == _WIDE:
        what = f"levels and {rows} scales"
        data = _bytes(section, rows * (columns + SCALE_BYTES), what, thing)
        return WideMatrix(section.name, data.reshape(rows, -1))
    if kind == _GROUPED:
        what = f"codes with scales of {GROUP} columns"
        data = _bytes(section, rows * grouped_row_bytes(columns, packing), what, thing)
        return GroupedMatrix(section.name, data.reshape(rows, -1), columns, packing)
    way, scale = PACKING[packing], meta["scale"]
    length = way.length(rows * columns) if flat else rows * way.length(columns)
    data = _bytes(section, length, "codes", thing)
    if not flat:
        return PackedMatrix(section.name, data.reshape(rows, -1), columns, scale, packing)
    try:
        codes = way.unpack(data, rows * columns).reshape(rows, columns)
    except SetunError as error:
        raise SetunError(thing, error.rule, error.value) from error
    return PackedMatrix.of_codes(section.name, codes, scale, packing)


def _bytes(section: Section, length: int, what: str, thing: str) -> Bytes:
    """The section's, of which there must be `length`."""
    if len(section.data) != length:
        rule = f"{section.meta['rows']}x{section.meta['columns']} {what} take {length} bytes"
        raise SetunError(thing, rule, len(section.data))
    return np.frombuffer(section.data, np.uint8)
