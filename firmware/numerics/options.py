"""Numeric options of a chip: what a preset or a TOML file may choose, with the same names.

A file has the options at top level, each of them optional::

    vector = [8, 9]              # exponent and mantissa bits of everything outside the array
    activation = "int8"          # codes of a vector: "int8" (BitNet b1.58) or "fp8" (1,5,2)
    accumulate = 64              # fp8: codes summed exactly before (1,6,9) rounds; "none" never
    multiplier = "exact"         # or "lmul": L-Mul for every product outside the array
    segments = 0                 # of lmul: bits of each mantissa that choose its offset
    state_rounding = "nearest"   # or "stochastic"
    state_mantissa = 9           # mantissa bits of the recurrent state; default the vector's
    state_seed = 1               # of the stochastic rounding
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from setun.firmware.errors import SetunError, nearest
from setun.firmware.file_kinds import refuse_other_kind
from setun.firmware.numerics.formats import Format
from setun.firmware.numerics.lmul import MOST_SEGMENTS
from setun.firmware.numerics.noise import NOISE_BITS

FILE_LIMIT = 1 << 16
"""Largest numerics file, in bytes."""

CHOICES = {
    "activation": ("int8", "fp8"),
    "multiplier": ("exact", "lmul"),
    "state_rounding": ("nearest", "stochastic"),
}
CHUNK = 64
"""Codes that fp8 sums exactly unless told otherwise (Wang et al., arXiv 1812.08011)."""
EXACT = 0
"""`accumulate` without rounding; "none" in files."""
ACCUMULATOR = Format(6, 9)
"""What sums of chunks are rounded to."""
CODE = Format(5, 2)
"""Codes of `activation = "fp8"`."""
CODE_FRACTION = 16
"""Fraction bits of fp8 codes as whole numbers: the smallest one's last bit is worth 1."""
CODE_BITS = CODE_FRACTION + 3
"""Bits of fp8 codes as whole numbers, sign included: rounding makes the largest one 2."""


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Numeric options of golden model and gateware; validated on construction.

    Parameters
    ----------
    vector
        Format of everything outside the ternary array.
    activation
        Codes that the array sums: "int8" or "fp8".
    accumulate
        With fp8, length of the chunks whose exact sums are rounded and added in (1,6,9), a power
        of two; `EXACT` never rounds, as int8 never does.
    multiplier
        Products outside the array: "exact" or "lmul".
    segments
        With lmul, top bits of each factor's mantissa that choose the offset of their sum, see
        `setun.firmware.numerics.lmul.offsets`; 0 is the paper's one offset, with which RoPE's
        products stay exact.
    state_rounding
        How the recurrent state is rounded: "nearest" or "stochastic".
    state_mantissa
        Stored mantissa bits of the recurrent state; None takes the vector's.
    state_seed
        Seed of the stochastic rounding, 32 bits.
    """

    vector: Format = field(default_factory=Format)
    activation: str = "int8"
    accumulate: int = EXACT
    multiplier: str = "exact"
    segments: int = 0
    state_rounding: str = "nearest"
    state_mantissa: int | None = None
    state_seed: int = 1

    def __post_init__(self) -> None:
        if self.vector.exponent < 5:
            raise SetunError("vector exponent", "must have 5 to 8 bits", self.vector.exponent)
        if not 2 <= self.vector.mantissa <= 10:
            raise SetunError("vector mantissa", "must have 2 to 10 bits", self.vector.mantissa)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                value = f"{str(getattr(self, name))[:40]!a}"
                raise SetunError(name, f"must be {' or '.join(choices)}", value)
        chunk = self.accumulate
        if chunk != EXACT and not (1 <= chunk <= 1 << 16 and chunk & (chunk - 1) == 0):
            raise SetunError("accumulate", 'must be a power of two up to 65536, or "none"', chunk)
        if chunk != EXACT and self.activation != "fp8":
            raise SetunError(
                "accumulate", 'needs activation = "fp8"', chunk, "sums of int8 codes are exact"
            )
        if not 0 <= self.segments <= MOST_SEGMENTS:
            raise SetunError("segments", f"must be 0 to {MOST_SEGMENTS} bits", self.segments)
        if self.segments and not self.lmul:
            raise SetunError("segments", 'needs multiplier = "lmul"', self.segments)
        if self.state_mantissa is not None and not 4 <= self.state_mantissa <= 16:
            raise SetunError("state_mantissa", "must be 4 to 16 bits", self.state_mantissa)
        if not 0 <= self.state_seed < 1 << 32:
            raise SetunError("state_seed", "must be a number of 32 bits", self.state_seed)
        if self.state_rounding != "stochastic" and self.state_seed != 1:
            raise SetunError("state_seed", 'needs state_rounding = "stochastic"', self.state_seed)

    @property
    def state(self) -> Format:
        """Format of the recurrent state in memory."""
        bits = self.vector.mantissa if self.state_mantissa is None else self.state_mantissa
        return Format(self.vector.exponent, bits)

    @property
    def wide(self) -> Format:
        """Format in which a new state is computed before it is rounded to `state`."""
        bits = self.state.mantissa + (NOISE_BITS if self.stochastic else 0)
        return Format(self.vector.exponent, max(self.vector.mantissa, bits))

    @property
    def stochastic(self) -> bool:
        """Whether the recurrent state is rounded at random."""
        return self.state_rounding == "stochastic"

    @property
    def fp8(self) -> bool:
        """Whether codes are small floats."""
        return self.activation == "fp8"

    @property
    def lmul(self) -> bool:
        """Whether products are L-Mul's."""
        return self.multiplier == "lmul"

    @property
    def lmul_in_rope(self) -> bool:
        """Whether RoPE's products are L-Mul's: exact ones with the paper's offset."""
        return self.segments > 0

    @property
    def code_bits(self) -> int:
        """Bits of a code as a signed whole number, sign included."""
        return CODE_BITS if self.fp8 else 8

    @property
    def fraction(self) -> int:
        """Fraction bits of the array's sums."""
        return CODE_FRACTION if self.fp8 else 0

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON or TOML values; `from_dict` is the inverse.

        Options of no effect are left out: equal arithmetic has equal contents.
        """
        options: dict[str, Any] = {
            "vector": [self.vector.exponent, self.vector.mantissa],
            "activation": self.activation,
            "multiplier": self.multiplier,
            "state_rounding": self.state_rounding,
        }
        if self.state != self.vector:
            options["state_mantissa"] = self.state.mantissa
        if self.segments:
            options["segments"] = self.segments
        if self.fp8:
            options["accumulate"] = self.accumulate or "none"
        if self.stochastic:
            options["state_seed"] = self.state_seed
        return options

    @classmethod
    def from_dict(cls, options: Mapping[str, Any], source: str = "numerics") -> "Numerics":
        """Options by name, absent ones at their defaults; `source` names them in errors.

        Raises
        ------
        SetunError
            An option is unknown or its value impossible.
        """
        values: dict[str, Any] = {}
        for name, value in options.items():
            if name not in cls.__dataclass_fields__:
                known = ", ".join(cls.__dataclass_fields__)
                raise SetunError(source, f"options are {known}", f"{str(name)[:40]!a}")
            values[name] = _parsed(name, value, source)
        if values.get("activation") == "fp8":
            values.setdefault("accumulate", CHUNK)
        try:
            if "vector" in values:
                values["vector"] = Format(*values["vector"])
            return cls(**values)
        except SetunError as error:
            thing = (
                error.thing
                if error.thing in cls.__dataclass_fields__
                else ("vector " + error.thing.removeprefix("vector "))
            )
            raise SetunError(f"{source} {thing}", error.rule, error.value, error.fix) from error


def _parsed(name: str, value: Any, source: str) -> Any:
    """A value of the right type for an option."""
    shown = f"{str(value)[:40]!a}"
    if name == "vector":
        if not (
            isinstance(value, list) and len(value) == 2 and all(type(bits) is int for bits in value)
        ):
            rule = "must be bits of exponent and mantissa, [8, 9]"
            raise SetunError(f"{source} vector", rule, shown)
    elif name in CHOICES:
        if not isinstance(value, str):
            raise SetunError(f"{source} {name}", f"must be {' or '.join(CHOICES[name])}", shown)
    elif name == "accumulate" and value == "none":
        return EXACT
    elif type(value) is not int or (name == "accumulate" and value == EXACT):
        rule = 'must be a power of two, or "none"' if name == "accumulate" else "must be a number"
        raise SetunError(f"{source} {name}", rule, shown)
    return value


SEGMENTS = 3
"""Of the presets with L-Mul: 64 offsets, functions of six bits each."""
PRESETS: dict[str, Numerics] = {
    "default": Numerics(),
    "fp8": Numerics(activation="fp8", accumulate=CHUNK),
    "lmul": Numerics(multiplier="lmul", segments=SEGMENTS),
    "lmul-paper": Numerics(multiplier="lmul"),
    "stochastic": Numerics(state_rounding="stochastic", state_mantissa=7),
    "all-four": Numerics(
        activation="fp8",
        accumulate=CHUNK,
        multiplier="lmul",
        segments=SEGMENTS,
        state_rounding="stochastic",
        state_mantissa=7,
    ),
}
"""Numerics by name; docs/numerics.md has the price of each."""


def from_file(path: Path) -> Numerics:
    """Options of a TOML file.

    Raises
    ------
    SetunError
        The file cannot be read, is no TOML, or has an unknown option or value.
    """
    try:
        if not path.is_file():
            raise SetunError(
                f"numerics {path}",
                "must be a preset or a TOML file",
                "no such file",
                nearest(str(path), PRESETS) or f"presets: {', '.join(PRESETS)}",
            )
        if path.stat().st_size > FILE_LIMIT:
            raise SetunError(f"numerics {path}", f"has at most {FILE_LIMIT} bytes")
        data = path.read_bytes()
        refuse_other_kind(f"numerics {path}", "must be a TOML file", data)
        options = tomllib.loads(data.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SetunError(f"numerics {path}", "must be a TOML file", error) from error
    return Numerics.from_dict(options, str(path))


def choose(name: str) -> Numerics:
    """Numerics by preset name, else by the path of a file."""
    return PRESETS[name] if name in PRESETS else from_file(Path(name))
