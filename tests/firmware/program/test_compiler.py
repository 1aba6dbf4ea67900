"""The compiler: its algebra is exact, its programs are what the chip expects."""

import numpy as np
import pytest

from bench.folders import VECTORS
from setun.firmware.errors import SetunError
from setun.firmware.image.image import ALIGN, Image, aligned
from setun.firmware.models.architecture import HGRN_BIT
from setun.firmware.models.checkpoint import Checkpoint, load_checkpoint
from setun.firmware.models.compiler import compile_checkpoint
from setun.firmware.models.hgrn_bit import HgrnBitConfig, lower_bounds
from setun.firmware.program import kernels
from setun.firmware.program.isa import Op, Table
from setun.firmware.program.verify import verify
from setun.sim.folded import FoldedModel
from setun.sim.reference import hgrn_bit as reference
from setun.sim.reference.hgrn_bit import FloatModel

MODELS = ["a_h64_l2", "b_h128_l4", "d_h64_l3_nolb"]


def random_checkpoint(config: HgrnBitConfig, seed: int = 5) -> Checkpoint:
    """A checkpoint of any shape, with gains and bounds far from trivial."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in HGRN_BIT.expected_shapes(config).items():
        values = rng.standard_normal(shape)
        tensors[name] = (values if len(shape) == 2 else 1 + 0.4 * values).astype(np.float32)
    if config.tie_word_embeddings:
        tensors["lm_head.weight"] = tensors["model.embeddings.weight"]
    return Checkpoint(architecture=HGRN_BIT, config=config, tensors=tensors)


def image_of(config: HgrnBitConfig) -> Image:
    image = compile_checkpoint(random_checkpoint(config))
    verify(image, "image")
    return image


@pytest.mark.parametrize("name", MODELS)
def test_folding_is_exact_on_upstreams_vectors(name: str) -> None:
    folder = VECTORS / name
    checkpoint, io = load_checkpoint(folder), np.load(folder / "io.npz")
    logits = FoldedModel(compile_checkpoint(checkpoint)).forward_batch(io["input_ids"])
    np.testing.assert_allclose(logits[0], io["logits"], rtol=0, atol=1e-4)
    ours = FloatModel(checkpoint).forward_batch(io["input_ids"])
    np.testing.assert_allclose(logits, ours, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_matrices_are_upstreams_codes(name: str) -> None:
    folder = VECTORS / name
    image, config = compile_checkpoint(load_checkpoint(folder)), load_checkpoint(folder).config
    ternary = np.load(folder / "ternary.npz")
    read = 0
    for matrix in image.matrices:
        half = {"gate": 0, "up": 1}.get(matrix.name.rsplit(".", 1)[-1])
        whole = matrix.name if half is None else matrix.name.rsplit(".", 1)[0]
        codes = ternary[whole + ".codes"]
        if half is not None:
            codes = np.split(codes, 2)[half]
        np.testing.assert_array_equal(matrix.codes(), codes, err_msg=matrix.name)
        assert matrix.scale == pytest.approx(1 / float(ternary[whole + ".scale"]), rel=1e-6)
        read += codes.size
    h, d, i = config.hidden_size, config.inner_size, config.intermediate_size
    layer = 3 * d * h + h * d + 2 * i * h + h * i
    assert image.weights == read == config.num_hidden_layers * layer + config.vocab_size * h


@pytest.mark.parametrize(
    "config",
    [
        HgrnBitConfig(vocab_size=7, hidden_size=40, num_hidden_layers=1, intermediate_size=24),
        HgrnBitConfig(
            vocab_size=300,
            hidden_size=96,
            num_hidden_layers=2,
            intermediate_size=256,
            use_lower_bound=False,
            expand_ratio=1.5,
            num_heads=3,
        ),
        HgrnBitConfig(
            vocab_size=33,
            hidden_size=64,
            num_hidden_layers=2,
            intermediate_size=200,
            tie_word_embeddings=True,
            rms_norm_eps=1e-3,
        ),
        HgrnBitConfig(
            vocab_size=50,
            hidden_size=130,
            num_hidden_layers=3,
            intermediate_size=70,
            use_lower_bound=False,
            expand_ratio=0.5,
        ),
    ],
    ids=["small", "wide-state", "tied", "odd"],
)
def test_other_shapes(config: HgrnBitConfig) -> None:
    checkpoint = random_checkpoint(config)
    image = image_of(config)
    ids = np.random.default_rng(1).integers(0, config.vocab_size, (2, 12))
    got = FoldedModel(image).forward_batch(ids)
    want = FloatModel(checkpoint).forward_batch(ids)
    # Random ids may put a code on a rounding tie, so a rare token may differ.
    close = np.abs(got - want).max(-1) < 1e-3 * want.std()
    assert close.mean() > 0.7
    assert close[:, 0].all()


def test_program_of_a_layer() -> None:
    config = HgrnBitConfig(vocab_size=9, hidden_size=64, num_hidden_layers=2, intermediate_size=96)
    image = image_of(config)
    body = [i for i in image.program if i.op is Op.MATVEC]
    layer = [
        kernels.SILU,
        kernels.MLGRU,
        kernels.GLU,
        kernels.ADD,
        kernels.COPY,
        kernels.GLU,
        kernels.ADD,
    ]
    assert [i.kernel for i in body] == [*layer, *layer, kernels.SAMPLE]
    assert [i.note for i in body] == [m.name for m in image.matrices]
    assert sum(i.op is Op.END for i in image.program) == 2
    assert image.memory.vector_elements == 64 + aligned(96)
    assert image.memory.state_elements == 2 * 64
    gains = [i.constants for i in image.program if i.op is Op.QUANTISE]
    assert gains == sorted(gains) and all(g % (ALIGN // 2) == 0 for g in gains)


def test_equal_checkpoints_give_equal_images_and_others_another_hash() -> None:
    config = HgrnBitConfig(vocab_size=9, hidden_size=64, num_hidden_layers=2, intermediate_size=96)
    one, two = (compile_checkpoint(random_checkpoint(config, 5)) for _ in range(2))
    assert one.model_hash == two.model_hash and one.program == two.program
    assert compile_checkpoint(random_checkpoint(config, 6)).model_hash != one.model_hash
    assert len(one.model_hash) == 24
    packed = compile_checkpoint(random_checkpoint(config, 5), "1.6b")
    assert packed.model_hash == one.model_hash, "packing changes no number"


def test_gates_are_one_minus_the_bounds() -> None:
    folder = VECTORS / "b_h128_l4"
    checkpoint = load_checkpoint(folder)
    image = compile_checkpoint(checkpoint)
    table = reference.lower_bounds(checkpoint.tensors["model.lower_bounds"])
    gates = image.tables[Table.GATES]
    for region, bounds in zip(image.memory.state, table, strict=True):
        np.testing.assert_allclose(gates[region.slice], 1 - bounds, atol=1e-6)
    assert (gates[image.memory.state[0].slice] == 1.0).all()
    free = load_checkpoint(VECTORS / "d_h64_l3_nolb")
    assert not lower_bounds(free.config, free.tensors).any()
    assert (compile_checkpoint(free).tables[Table.GATES] == 1.0).all()


def test_rows_beyond_20_bits_are_refused() -> None:
    config = HgrnBitConfig(
        vocab_size=2, hidden_size=2, num_hidden_layers=1, intermediate_size=1_048_576
    )
    image = compile_checkpoint(random_checkpoint(config))
    with pytest.raises(SetunError, match="at most 1048575 rows"):
        verify(image, "image")


def test_float_twin_refuses_tokens_outside_the_vocabulary() -> None:
    image = compile_checkpoint(load_checkpoint(VECTORS / "a_h64_l2"))
    for token in (-1, image.vocab_size):
        with pytest.raises(SetunError, match=f"found {token}"):
            FoldedModel(image).forward_batch(np.array([[0, token]]))
