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
    """Path of a model given as a shipped name, a checkpoint's folder or file, or an image file.

    A path that exists wins over a shipped name only when it has a separator or a suffix, so
    that a stray folder called `shakespeare` does not change what the name means.

    Raises
    ------
    SetunError
        Neither a shipped name, nor a folder with a config.json or one GGUF file, nor a file.
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
        files = sorted(path.glob("*.gguf"))
        if len(files) == 1:
            return files[0]
        raise SetunError(
            f"model {text}",
            "must hold config.json or one GGUF file to be a checkpoint folder",
            f"{files[0].name} and {files[1].name}" if files else "no config.json and no GGUF file",
            "give one of the files" if files else "",
        )
    raise SetunError(
        f"model {text}",
        "must be a shipped name, a checkpoint folder, a GGUF or an image file",
        "no such path" if text else "nothing",
        f"{nearest(text, names())} shipped: {shipped}".strip(),
    )


def is_checkpoint(path: Path) -> bool:
    """Whether a path that `find` gave is a checkpoint, and not an image.

    Raises
    ------
    SetunError
        It cannot be read.
    """
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError as error:
        raise SetunError(f"model {path}", "must be readable", error) from error
