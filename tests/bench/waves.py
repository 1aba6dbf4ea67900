"""Save files for GTKWave: the ports of a bench, streams grouped."""

from collections.abc import Iterator
from pathlib import Path

from amaranth.lib import stream
from amaranth.lib.wiring import Component, Signature


def _groups(signature: Signature, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """(group, port names) of a signature; a stream is a group: payload, valid, ready."""
    plain = []
    for name, member in signature.members.items():
        path = f"{prefix}__{name}" if prefix else name
        if member.is_port:
            plain.append(path)
        elif isinstance(member.signature, stream.Signature):
            yield f"stream {path}", [f"{path}__{port}" for port in ("payload", "valid", "ready")]
        else:
            yield from _groups(member.signature, path)
    if plain:
        yield prefix or "ports", plain


def gtkw(waves: Path, component: Component, top: str) -> str:
    """Text of a GTKWave save file for `waves`.

    A component with a method `wave_groups()` names its own (group, signals), by path below the
    top; otherwise they are its ports.
    """
    own = getattr(component, "wave_groups", None)
    groups = own() if own else _groups(component.signature, "")
    lines = [f'[dumpfile] "{waves}"', "@28", f"{top}.clk", f"{top}.rst"]
    for title, ports in groups:
        lines += ["@200", f"-{title}", "@22", *(f"{top}.{port}" for port in ports)]
    return "\n".join([*lines, ""])


def write_gtkw(waves: Path, component: Component, top: str) -> None:
    """Write the save file beside `waves`."""
    waves.with_suffix(".gtkw").write_text(gtkw(waves, component, top))
