"""Files that are not what they seem, told by their first bytes."""

from setun.firmware.errors import SetunError

_POINTER = (
    b"version https://git-lfs.github.com/spec/",
    "a Git LFS pointer, not the file itself",
    "in the repository's folder: git lfs install, then git lfs pull",
)
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    _POINTER,
    (b"<!doctype html", "a web page", "download the file itself, not the page about it"),
    (b"<html", "a web page", "download the file itself, not the page about it"),
    (b"GGUF", "a GGUF file", "give it as the model, by its own path"),
    (b"PK\x03\x04", "a PyTorch pickle or another zip", "save with safe_serialization=True"),
    (b"\x80\x02", "a Python pickle", "save with safe_serialization=True"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
)
LENGTH = 64
"""Bytes of a file that tell its kind."""


def refuse_other_kind(source: str, rule: str, data: bytes) -> None:
    """Refuse what is known to be something else; `data` begins as the file does.

    Raises
    ------
    SetunError
        `source` breaks `rule`: what it is, and what helps.
    """
    _refuse(source, rule, data, _KINDS)


def refuse_pointer(source: str, rule: str, data: bytes) -> None:
    """`refuse_other_kind` for a text, which anything else may be."""
    _refuse(source, rule, data, (_POINTER,))


def _refuse(source: str, rule: str, data: bytes, kinds: tuple[tuple[bytes, str, str], ...]) -> None:
    head = data[:LENGTH].lstrip().lower()
    for start, kind, fix in kinds:
        if head.startswith(start.lower()):
            raise SetunError(source, rule, kind, fix)
