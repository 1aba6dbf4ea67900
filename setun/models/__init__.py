"""Models shipped with Setun, and where a model named on the command line is."""

from importlib import resources
from pathlib import Path

from setun.firmware.errors import SetunError, nearest


def _folder() -> Path:
    return Path(str(resources.files(__name__)))


def names() -> list[str]:
    """Names of the shipped models, sorted."""
    return sorted(config.parent.name for config in _folder().glob("*/config.json"))


def find(name: str | Path) -> Path:
    """Path of a model given as a shipped name, a checkpoint folder or an image file.

    A path that exists wins over a shipped name only when it has a separator or a suffix, so
    that a stray folder called `shakespeare` does not change what the name means.

    Raises
    ------
    SetunError
        Neither a shipped name, nor a folder with a config.json, nor a file.
    """
    text = str(name)
    if text in names():
        return _folder() / text
    path = Path(text).expanduser()
    if path.is_dir() and (path / "config.json").is_file():
        return path
    if path.is_file():
        return path
    shipped = ", ".join(names())
    if path.is_dir():
        from setun.firmware.models.weight_files import refuse_adapters

        refuse_adapters(path)
        found = ", ".join(sorted(file.name for file in path.glob("*.gguf"))[:1])
        raise SetunError(
            f"model {text}",
            "must hold config.json to be a checkpoint folder",
            found or "no config.json",
            "GGUF is not read: take the folder that it was made from" if found else "",
        )
    raise SetunError(
        f"model {text}",
        "must be a shipped name, a checkpoint folder or an image file",
        "no such path" if text else "nothing",
        f"{nearest(text, names())} shipped: {shipped}".strip(),
    )
