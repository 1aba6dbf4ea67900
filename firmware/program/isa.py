"""Instruction set of the chip: four 32-bit words an instruction, addresses in elements.

The program is straight-line code in execution order: a body (embed one token, run all layers)
and, behind its `END`, a head (logits of the current token, sample). Elements, not memory words,
are addressed, so one program serves every chip whatever its lanes.

====== ==================== =======================================================
word   bits                 meaning
====== ==================== =======================================================
0      3:0                  operation
0      15:4                 flags, see the properties of `Instruction`
0      31:16                n: columns (QUANTISE), rows (MATVEC), width (EMBED)
1      15:0 / 31:16         source / destination element
2      31:0                 constants: first pair (QUANTISE), weight words (MATVEC)
3      31:0                 immediate: vector-format bits or an integer
====== ==================== =======================================================
"""

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from setun.firmware.errors import SetunError
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.options import Numerics

WORDS = 4  # 32-bit words of one instruction


class Op(IntEnum):
    """Operations. 0 is left out: blank memory is not a program."""

    MODEL = 1  # no operation; source, destination, constants and immediate hold the model's hash
    SCALARS = 2  # set the two epsilons: constants = eps of the outer norm, immediate = inner
    EMBED = 3  # vector[dst:dst+n] = embedding row of the token; rows of `immediate` pairs
    QUANTISE = 4  # normalise and quantise vector[src:src+n] into the next activation slot
    MATVEC = 5  # ternary matrix (the next in memory) times the oldest slot, into a kernel
    END = 6  # end of body, end of head


class Kernel(IntEnum):
    """What happens to a matvec's rows y: the sinks of the array."""

    COPY = 0  # vector[dst] = y
    SILU = 1  # vector[dst] = y * sigmoid(y)
    MLGRU = 2  # u = c*sigmoid(-y); vector[src] = state[dst] = (1-u)*state[dst] + u*vector[src]
    GLU = 3  # vector[dst] = y * silu(vector[src])
    ADD = 4  # vector[dst] = vector[src] + y
    SAMPLE = 5  # rows are logits; argmax of logit (greedy) or of logit/T + Gumbel noise


class MeanSquare(IntEnum):
    """Which mean square joins the epsilon of a quantiser's norm (see `golden`)."""

    OWN = 0  # of the vector itself, before its outer gain
    ARRAY = 1  # of the last matvec's rows: the gate projection, for g_norm
    NONE = 2  # there is no outer norm: the epsilon is added as it is


class Table(StrEnum):
    """Numbers of a model that instructions address."""

    CONSTANTS = "constants"  # [n, 2], QUANTISE: outer gain, outer times inner gain
    EMBEDDING = "embedding"  # [vocabulary, width], EMBED: a row a token
    GATES = "gates"  # [state elements], MLGRU: c at its state's address


STAT_BITS = 12  # bits of an accumulator that are squared for mean squares

INT8_ONE = 127  # code of a vector's largest number
INT8_BITS = 8


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One decoded instruction; unused fields are 0.

    `immediate` is a real number where the operation takes a vector-format float (QUANTISE: 1/n;
    MATVEC: weight scale / 127) and is rounded to the chip's format when encoded.
    """

    op: Op
    n: int = 0
    src: int = 0
    dst: int = 0
    constants: int | float = 0
    immediate: int | float = 0
    sync: bool = False  # QUANTISE: wait until every earlier matvec has been stored
    stream: bool = False  # QUANTISE: take the maxima while the matvec before stores the vector
    mean_square: MeanSquare = MeanSquare.OWN  # QUANTISE
    kernel: Kernel = Kernel.COPY  # MATVEC
    keep: bool = False  # MATVEC: leave the slot for the next matvec
    feeds: bool = False  # MATVEC: the next instruction is a QUANTISE with `stream` of its rows
    stat_shift: int = 0  # MATVEC: bits dropped from accumulators before they are squared
    note: str = ""  # for people: which tensor

    @property
    def flags(self) -> int:
        """The 12 flag bits of word 0."""
        if self.op is Op.QUANTISE:
            return int(self.sync) | self.mean_square << 1 | self.stream << 3
        if self.op is Op.MATVEC:
            return self.kernel | self.keep << 3 | self.stat_shift << 5 | self.feeds << 10
        return 0

    def adapted(self, numerics: Numerics) -> "Instruction":
        """The instruction for codes of `numerics`: programs are written for int8's."""
        if self.op is not Op.MATVEC or not numerics.fp8:
            return self
        return replace(
            self,
            immediate=float(self.immediate) * INT8_ONE,
            stat_shift=self.stat_shift + numerics.code_bits - INT8_BITS,
        )

    def encode(self, fmt: Format) -> NDArray[np.uint32]:
        """The four words of the instruction, floats in `fmt`."""
        for name, value in (("n", self.n), ("src", self.src), ("dst", self.dst)):
            if not 0 <= value < 1 << 16:
                raise SetunError(
                    f"instruction {self.op.name} {self.note}", f"{name} must fit 16 bits", value
                )
        last = [
            int(fmt.to_bits(v)[0]) if isinstance(v, float) else v
            for v in (self.constants, self.immediate)
        ]
        first = self.op | self.flags << 4 | self.n << 16
        return np.array([first, self.src | self.dst << 16, *last], np.uint32)

    def __str__(self) -> str:
        return f"{self.op.name:<9}{self._operands():<78}{self.note}".rstrip()

    def _operands(self) -> str:
        if self.op is Op.EMBED:
            return f"v[{self.dst}:+{self.n}] = e[{self.constants}+{self.immediate}*token]"
        if self.op is Op.SCALARS:
            return f"eps_outer={self.constants:g} eps_inner={self.immediate:g}"
        if self.op is Op.QUANTISE:
            sync = f"{' sync' if self.sync else ''}{' stream' if self.stream else ''}"
            ms = self.mean_square.name.lower()
            return f"slot <- v[{self.src}:+{self.n}] gains={self.constants} mean_square={ms}{sync}"
        if self.op is Op.MATVEC:
            a = f"v[{self.src}]"
            to = {
                Kernel.COPY: f"v[{self.dst}:+{self.n}] = y",
                Kernel.SILU: f"v[{self.dst}:+{self.n}] = silu(y)",
                Kernel.MLGRU: f"{a} = h[{self.dst}:+{self.n}] = mlgru(y, {a})",
                Kernel.GLU: f"v[{self.dst}:+{self.n}] = y*silu({a})",
                Kernel.ADD: f"v[{self.dst}:+{self.n}] = {a} + y",
                Kernel.SAMPLE: f"token = sample(y[:{self.n}])",
            }[self.kernel]
            marks = f"{' keep' if self.keep else ''}{' feeds' if self.feeds else ''}"
            return f"{to} scale={self.immediate:.4g}{marks}"
        return ""
