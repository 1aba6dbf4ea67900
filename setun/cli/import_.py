"""`setun import`: checkpoint folder in, image file out."""

import math
from pathlib import Path

import click

from setun.cli.common import bar, check_written, emit, json_option, stages
from setun.cli.options import numerics_option
from setun.firmware.config import PACKINGS
from setun.firmware.errors import SetunError
from setun.firmware.image import file as image_file
from setun.firmware.models.checkpoint import load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.numerics.options import Numerics
from setun.firmware.program.builder import FIVE_TRITS, HEADS, TERNARY
from setun.firmware.program.isa import Table
from setun.models import find, is_checkpoint


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("-o", "--output", required=True, type=Path, metavar="M.setun", help="Image to write.")
@click.option(
    "--packing",
    type=click.Choice(PACKINGS),
    default=PACKINGS[0],
    show_default=True,
    help="Bits of a ternary weight: two, or five trits to the byte.",
)
@click.option(
    "--head",
    type=click.Choice(HEADS),
    default=TERNARY,
    show_default=True,
    help="Weights of the head: ternary as the others, or five trits, 243 levels a row; a float"
    " head that was not trained to be ternary always has these.",
)
@numerics_option
@json_option
def command(
    folder: str,
    output: Path,
    packing: str,
    head: str,
    numerics: Numerics | None,
    as_json: bool,
) -> None:
    """Checkpoint folder to image.

    DIR holds config.json, *.safetensors and tokenizer.json of a MatMul-free LM (HGRNBit), as
    Hugging Face's save_pretrained writes them; a shipped name stands for its folder. Transformers
    (BitNet b1.58, GGUF files too) are read, but no chip runs them yet.

    \b
    setun import DIR -o M.setun
    setun import shakespeare -o M.setun --packing 1.6b
    setun import shakespeare -o M.setun --head 5t
    """
    path = find(folder)
    if not is_checkpoint(path):
        raise SetunError(folder, "must be a checkpoint folder or a GGUF file to import", "a file")
    check_written(output, as_json)
    checkpoint = load_checkpoint(path)
    shapes = checkpoint.architecture.expected_shapes(checkpoint.config)
    with bar(f"import {folder}", sum(math.prod(shape) for shape in shapes.values())) as step:
        image = compile_checkpoint(checkpoint, packing, step, head=head)
    with stages() as stage:
        stage("write")
        written = image_file.save(image, output, numerics)
    width = image.tables[Table.EMBEDDING].shape[1]
    result = {
        "image": output,
        "bytes": written,
        "model_hash": image.model_hash,
        "packing": packing,
        "head": FIVE_TRITS if image.matrices[-1].planes > 1 else TERNARY,
        "numerics": (numerics or Numerics()).to_dict(),
        "name": image.name,
        "layers": len(image.layers),
        "hidden_size": width,
        "vocab_size": image.vocab_size,
        "weights": image.weights,
        "bits_per_weight": image.bits_per_weight,
        "tokenizer": image.tokenizer_json is not None,
    }
    emit(
        result,
        as_json,
        f"{output}: {written} bytes, {len(image.layers)} layers of "
        f"{width}, {image.weights} {'ternary ' * (head == TERNARY)}weights at "
        f"{result['bits_per_weight']:.3g} bits, hash {image.model_hash}",
        output,
    )
