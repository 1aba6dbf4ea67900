"""Which model a connected chip holds, and whether it is the one that the host means."""

from collections.abc import Iterator

from setun import models
from setun.backends.connect import ConnectedChip
from setun.backends.loading import differing, loaded_hash
from setun.firmware.errors import SetunError
from setun.firmware.image.image import Image
from setun.firmware.image.memory_layout import lay_out
from setun.models.load import load_model


def shipped_name(model_hash: str | None) -> str | None:
    """Name of the shipped model with this hash."""
    matches = (name for name, image in _shipped() if image.model_hash == model_hash)
    return next(matches, None) if model_hash else None


def _shipped() -> Iterator[tuple[str, Image]]:
    for name in models.names():
        yield name, load_model(name)


def model_on(chip: ConnectedChip, wanted: str | None = None) -> Image:
    """The model on the chip: `wanted`, or the shipped one whose hash its program begins with.

    Program, constants and gates are compared by CRC, weights too where they lie outside block
    RAM: an image of the same hash laid out for another chip, or memory that lost its power, would
    give other tokens without a word.

    Raises
    ------
    SetunError
        The chip holds no model, another than `wanted`, one that is not shipped while none is
        wanted, or only parts of it.
    """
    found = loaded_hash(chip.client, chip.config)
    put = f"setun load {wanted or 'M'} --port {chip.port} puts it there"
    if found is None:
        raise SetunError(
            f"chip on {chip.port}",
            "must hold a whole model",
            "none or half of one",
            put if wanted else f"setun load M --port {chip.port}",
        )
    candidates = _shipped() if wanted is None else iter([(wanted, load_model(wanted))])
    name, image = next(((n, i) for n, i in candidates if i.model_hash == found), (None, None))
    if image is None:
        if wanted is None:
            raise SetunError(
                "model on the chip",
                "must be named, for it is none of the shipped",
                found,
                "--model M",
            )
        raise SetunError(
            f"model {wanted}", "must be the one on the chip", shipped_name(found) or found, put
        )
    layout = lay_out(image, chip.config)
    damaged = differing(chip.client, layout, weights=chip.config.external)
    if damaged:
        listed = ", ".join(space.name.lower() for space in damaged)
        raise SetunError(
            f"model {name}",
            "must be whole on the chip",
            f"differs in {listed}",
            f"setun load {name} --port {chip.port}",
        )
    return image
