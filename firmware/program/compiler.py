"""Checkpoint to image: fold the gains, ternarise the weights, emit the program.

Two exact pieces of algebra remove work from the chip (`hgrn_bit` names on the left):

* absmax codes do not change when their input is scaled, so the outer RMSNorm's 1/rms drops out
  of the codes and both gains become one, gain = outer * inner;
* the two 1/rms factors join in one: with m2 = mean((x*outer)**2) and m1 = mean(x**2),
  1/rms = 1/sqrt(m2 + 1e-6*(m1 + eps)). Without an outer norm (down_proj), m1 + eps is 1.
"""

import hashlib
import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from setun.firmware.models.checkpoint import Checkpoint, ModelConfig
from setun.firmware.numerics.ternary import absmean
from setun.firmware.program.isa import Instruction, Kernel, MeanSquare, Op

INNER_EPS = 1e-6  # of the norm inside every BitLinear, whatever the configuration prints
ALIGN = 64  # vectors start at multiples of this many elements, constants of half as many pairs
STAT_BITS = 12  # bits of an accumulator that are squared for mean squares

Floats = NDArray[np.float32]


def aligned(n: int, to: int = ALIGN) -> int:
    """The next multiple of `to` at or above n."""
    return -(-n // to) * to


@dataclass(frozen=True)
class Matrix:
    """One ternary projection: codes int8 [rows, columns] in {-1, 0, 1} and their scale."""

    name: str
    codes: NDArray[np.int8]
    scale: float


@dataclass(frozen=True)
class Image:
    """A compiled model, independent of the chip's lanes and number format.

    matrices
        In execution order: a token reads them once, front to back.
    pairs
        Constants float32 [n, 2]: (outer gain, folded gain) of each quantiser input, 32-aligned.
    embedding
        float32 [vocabulary, hidden].
    gates
        1 - lower bound, float32 [layers, width].
    """

    config: ModelConfig
    tokenizer_json: str | None
    matrices: tuple[Matrix, ...]
    pairs: Floats
    embedding: Floats
    gates: Floats
    program: tuple[Instruction, ...]
    packing: str = "2b"
    model_hash: str = field(default="")

    @property
    def weights(self) -> int:
        """Ternary weights that one token reads."""
        return sum(m.codes.size for m in self.matrices)

    @property
    def vector_elements(self) -> int:
        """Elements of vector memory that the program uses."""
        c = self.config
        return aligned(c.hidden_size) + aligned(max(c.inner_size, c.intermediate_size))

    @property
    def state_elements(self) -> int:
        """Elements of recurrent state, alignment included."""
        return self.config.num_hidden_layers * aligned(self.config.inner_size)


def lower_bounds(checkpoint: Checkpoint) -> Floats:
    """Bounds [layers, width] of the forget gates: cumsum of softmax over layers, minus row 0."""
    c = checkpoint.config
    if not c.use_lower_bound:
        return np.zeros((c.num_hidden_layers, c.inner_size), np.float32)
    raw = checkpoint.tensors["model.lower_bounds"]
    e = np.exp(raw - raw.max(0))
    s = e / e.sum(0)
    return np.asarray(np.cumsum(s, 0) - s[0], np.float32)


class _Builder:
    """Collects matrices, constants and instructions while the layers are walked."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.tensors = checkpoint.tensors
        self.matrices: list[Matrix] = []
        self.pairs: list[Floats] = []
        self.program: list[Instruction] = []

    def quantise(
        self,
        projection: str,
        src: int,
        outer: str | None,
        *,
        mean_square: MeanSquare = MeanSquare.OWN,
        sync: bool = False,
    ) -> None:
        """Quantise a projection's input, in step with the matvec that makes it if there is one."""
        inner = self.tensors[f"{projection}.norm.weight"]
        n = inner.size
        w = np.ones_like(inner) if outer is None else self.tensors[outer]
        block = np.zeros((aligned(n, ALIGN // 2), 2), np.float32)
        block[:n, 0] = w
        block[:n, 1] = w * inner
        start = sum(len(p) for p in self.pairs)
        self.pairs.append(block)
        before = self.program[-1]
        stream = (
            before.op is Op.MATVEC
            and before.kernel is not Kernel.MLGRU
            and (before.dst, before.n) == (src, n)
        )
        if stream:
            self.program[-1] = replace(before, feeds=True)
        self.program.append(
            Instruction(
                op=Op.QUANTISE,
                n=n,
                src=src,
                constants=start,
                immediate=1.0 / n,
                mean_square=mean_square,
                sync=sync,
                stream=stream,
                note=projection,
            )
        )

    def matvec(
        self,
        name: str,
        codes: NDArray[np.int8],
        scale: float,
        kernel: Kernel,
        *,
        src: int = 0,
        dst: int = 0,
        keep: bool = False,
    ) -> None:
        self.matrices.append(Matrix(name, codes, scale))
        bits = math.ceil(math.log2(127 * codes.shape[1] + 1)) + 1
        self.program.append(
            Instruction(
                op=Op.MATVEC,
                n=codes.shape[0],
                src=src,
                dst=dst,
                immediate=scale / 127.0,
                kernel=kernel,
                keep=keep,
                stat_shift=max(0, bits - STAT_BITS),
                note=name,
            )
        )

    def project(self, name: str, kernel: Kernel, *, src: int = 0, dst: int = 0) -> None:
        codes, scale = absmean(self.tensors[f"{name}.weight"])
        self.matvec(name, codes, float(scale), kernel, src=src, dst=dst)


def compile_checkpoint(checkpoint: Checkpoint, packing: str = "2b") -> Image:
    """The image of `checkpoint`; deterministic. `packing` is how the file stores the weights."""
    c = checkpoint.config
    b = _Builder(checkpoint)
    x, t = 0, aligned(c.hidden_size)
    b.program.append(Instruction(op=Op.MODEL))  # filled in below, once the hash is known
    b.program.append(Instruction(op=Op.SCALARS, constants=c.rms_norm_eps, immediate=INNER_EPS))
    b.program.append(Instruction(op=Op.EMBED, n=c.hidden_size, dst=x))
    for layer in range(c.num_hidden_layers):
        p = f"model.layers.{layer}"
        h = layer * aligned(c.inner_size)
        norm = f"{p}.attn_norm.weight"
        b.quantise(f"{p}.attn.i_proj", x, norm, sync=layer == 0)
        b.project(f"{p}.attn.i_proj", Kernel.SILU, dst=t)
        b.quantise(f"{p}.attn.f_proj", x, norm)
        b.project(f"{p}.attn.f_proj", Kernel.MLGRU, src=t, dst=h)
        b.quantise(f"{p}.attn.g_proj", x, norm)
        b.project(f"{p}.attn.g_proj", Kernel.GLU, src=t, dst=t)
        b.quantise(f"{p}.attn.o_proj", t, f"{p}.attn.g_norm.weight", mean_square=MeanSquare.ARRAY)
        b.project(f"{p}.attn.o_proj", Kernel.ADD, src=x, dst=x)
        b.quantise(f"{p}.mlp.gate_proj", x, f"{p}.mlp_norm.weight")
        codes, scale = absmean(checkpoint.tensors[f"{p}.mlp.gate_proj.weight"])
        gate, up = np.split(codes, 2)
        b.matvec(f"{p}.mlp.gate_proj.gate", gate, float(scale), Kernel.COPY, dst=t, keep=True)
        b.matvec(f"{p}.mlp.gate_proj.up", up, float(scale), Kernel.GLU, src=t, dst=t)
        b.quantise(f"{p}.mlp.down_proj", t, None, mean_square=MeanSquare.NONE)
        b.project(f"{p}.mlp.down_proj", Kernel.ADD, src=x, dst=x)
    b.program.append(Instruction(op=Op.END))
    b.quantise("lm_head", x, "model.norm.weight", sync=True)
    head = "model.embeddings" if c.tie_word_embeddings else "lm_head"
    b.project(head, Kernel.SAMPLE)
    b.program.append(Instruction(op=Op.END))

    pairs = np.concatenate(b.pairs)
    # Two elements share a pair, so an embedding row takes half as many pairs as elements.
    b.program[2] = Instruction(
        op=Op.EMBED,
        n=c.hidden_size,
        dst=x,
        constants=len(pairs),
        immediate=aligned(c.hidden_size) // 2,
        note="model.embeddings",
    )
    image = Image(
        config=c,
        tokenizer_json=checkpoint.tokenizer_json,
        matrices=tuple(b.matrices),
        pairs=pairs,
        embedding=checkpoint.tensors["model.embeddings.weight"],
        gates=1.0 - lower_bounds(checkpoint),
        program=tuple(b.program),
        packing=packing,
    )
    return with_hash(image)


def with_hash(image: Image) -> Image:
    """`image` with its model hash computed and written into the program's first instruction."""
    digest = hashlib.sha256()
    for matrix in image.matrices:
        digest.update(matrix.codes.tobytes() + np.float64(matrix.scale).tobytes())
    for values in (image.pairs, image.embedding, image.gates):
        digest.update(np.ascontiguousarray(values).tobytes())
    for instruction in image.program[1:]:
        digest.update(str(instruction).encode())
    h = digest.digest()
    model = Instruction(
        op=Op.MODEL,
        src=int.from_bytes(h[0:2], "little"),
        dst=int.from_bytes(h[2:4], "little"),
        constants=int.from_bytes(h[4:8], "little"),
        immediate=int.from_bytes(h[8:12], "little"),
        note=f"hash {h[:12].hex()}",
    )
    return Image(
        config=image.config,
        tokenizer_json=image.tokenizer_json,
        matrices=image.matrices,
        pairs=image.pairs,
        embedding=image.embedding,
        gates=image.gates,
        program=(model, *image.program[1:]),
        packing=image.packing,
        model_hash=h[:12].hex(),
    )
