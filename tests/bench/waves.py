"""Save files for GTKWave: the ports of a bench, streams grouped."""

from collections.abc import Iterator
from pathlib import Path

from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import stream
from amaranth.lib.wiring import Component, Signature


def trace(path: str, shape: ShapeLike) -> str:
    """A signal as GTKWave names it: vectors carry their range."""
    width = Shape.cast(shape).width
    return path if width == 1 else f"{path}[{width - 1}:0]"


def port_groups(signature: Signature, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """(group, traces) of a signature; a stream is a group: payload, valid, ready."""
    plain = []
    for name, member in signature.members.items():
        path = f"{prefix}__{name}" if prefix else name
        if member.is_port:
            plain.append(trace(path, member.shape))
        elif isinstance(member.signature, stream.Signature):
            payload = trace(f"{path}__payload", member.signature.members["payload"].shape)
            yield f"stream {path}", [payload, f"{path}__valid", f"{path}__ready"]
        else:
            yield from port_groups(member.signature, path)
    if plain:
        yield prefix or "ports", plain


def gtkw(waves: Path, component: Component, top: str) -> str:
    """Text of a GTKWave save file for `waves`.

    A component with a method `wave_groups()` gives its own (group, traces), by path below the
    top; otherwise they are its ports.
    """
    own = getattr(component, "wave_groups", None)
    groups = own() if own else port_groups(component.signature)
    lines = [f'[dumpfile] "{waves}"', "@28", f"{top}.clk", f"{top}.rst"]
    for title, traces in groups:
        lines += ["@200", f"-{title}", "@22", *(f"{top}.{name}" for name in traces)]
    return "\n".join([*lines, ""])


def write_gtkw(waves: Path, component: Component, top: str) -> None:
    """Write the save file beside `waves`."""
    waves.with_suffix(".gtkw").write_text(gtkw(waves, component, top))
