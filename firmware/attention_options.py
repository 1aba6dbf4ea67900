"""Options of a chip's unit of attention: what they may be, and what a model needs of them."""

from typing import TYPE_CHECKING

from setun.firmware.errors import SetunError
from setun.firmware.program.isa import Op

if TYPE_CHECKING:
    from setun.firmware.config import ChipConfig
    from setun.firmware.image.image import Image

NAMES = ("attention", "queries", "positions", "outer_cache", "cache_elements", "head_elements")
MOST_POSITIONS = 1 << 12
MOST_ELEMENTS = 1 << 20
EXPONENT = 8  # bits of a vector's: a sum over positions is as large as 2**37
MANTISSA = 3  # bits likewise: a number holds half an increment of RoPE
USUAL = 32  # codes a cycle
INNER_BITS = 1 << 20
"""Of a cache that lies in block RAM although there is a memory outside."""
MOST_SHARING = 4  # heads of queries for which a key is read once, unless told
HEADS = (Op.ROTATE, Op.CACHE, Op.ATTEND, Op.NORM)


def check(config: "ChipConfig") -> None:
    """Refuse values that no unit is made of: SetunError."""
    c = config
    if not c.attention:
        return
    if c.attention & (c.attention - 1) or c.attention > 64 or c.attention % c.lanes:
        rule = f"must be a power of two up to 64, a multiple of the {c.lanes} lanes"
        raise SetunError("attention", rule, c.attention)
    if not 1 <= c.queries <= 16:
        raise SetunError("queries", "must be from 1 to 16", c.queries)
    if not 2 <= c.positions <= MOST_POSITIONS:
        raise SetunError("positions", f"must be from 2 to {MOST_POSITIONS}", c.positions)
    if c.head_norms not in (0, 1):
        raise SetunError("head_norms", "must be 0 or 1", c.head_norms)
    if c.outer_cache not in (0, 1) or (c.outer_cache and (not c.streams or c.memory_kind.sector)):
        rule = "must be 0, or 1 with the model in an external RAM"
        raise SetunError("outer_cache", rule, c.outer_cache, "--set outer_cache=0")
    if c.outer_cache and (c.attention < 4 or 8 * c.attention % c.beat):
        rule = f"must be whole beats of {c.beat} bits, and 4 at least, with outer_cache"
        raise SetunError("attention", rule, c.attention, f"--set attention={max(4, c.beat // 8)}")
    for name in ("cache_elements", "head_elements"):
        if not c.attention <= getattr(c, name) <= MOST_ELEMENTS:
            rule = f"must be from the {c.attention} codes a cycle to {MOST_ELEMENTS}"
            raise SetunError(name, rule, getattr(c, name))
    if c.vector.exponent < EXPONENT:
        rule = f"must have {EXPONENT} exponent bits with attention"
        raise SetunError("vector", rule, str(c.vector), "vector = [8, 9]")
    if c.vector.mantissa < MANTISSA:
        rule = f"must have {MANTISSA} mantissa bits with attention"
        raise SetunError("vector", rule, str(c.vector), "vector = [8, 9]")


def attends(image: "Image") -> bool:
    """Whether a model's program attends."""
    return any(do.op is Op.ATTEND for do in image.program)


def norms(image: "Image") -> bool:
    """Whether heads are normed."""
    return any(do.op is Op.NORM for do in image.program)


def needed(image: "Image", config: "ChipConfig") -> dict[str, int]:
    """What a model's attention needs of a chip, by option name; nothing if it has none.

    A chip may have fewer positions than the model: its conversations are shorter.
    """
    if not attends(image):
        return {}
    _check_heads(image, config)
    memory = image.memory
    return {
        "attention": config.attention,
        "head_norms": int(norms(image)),
        "cache_elements": max(memory.cache_elements, config.attention),
        "head_elements": max(do.block for do in image.program if do.op in HEADS),
        "positions": min(memory.positions, config.positions),
    }


def cached_words(image: "Image", config: "ChipConfig") -> int:
    """Words of the cache that a token reads of each position; 0 without attention."""
    words = 0
    for do in image.program:
        if do.op is Op.ATTEND and config.attention:
            reads = -(-do.group // config.queries)
            words += 2 * reads * (do.n // do.group // config.attention)
    return words


def check_positions(image: "Image", config: "ChipConfig") -> None:
    """Refuse a chip whose conversations are longer than the model's: SetunError."""
    if attends(image) and config.attention and image.memory.positions < config.positions:
        fix = f"--set positions={image.memory.positions}"
        rule = f"must be at most the model's {image.memory.positions}"
        raise SetunError("positions", rule, config.positions, fix)


def equipped(image: "Image", config: "ChipConfig") -> "ChipConfig":
    """`config` with a unit for a model that attends, if it has none and its core may have one."""
    may = config.core.equipped(attends=True, norms=True).has(Op.ATTEND)
    if not may or not attends(image):
        return config
    config = config.override(head_norms=int(norms(image)))
    if config.attention:
        return config
    attending = [do for do in image.program if do.op is Op.ATTEND]
    head = min(do.block & -do.block for do in attending)
    group = max(do.group for do in attending)
    usual = config.positions == type(config).positions
    asked = MOST_POSITIONS if usual else config.positions
    positions = max(2, min(image.memory.positions, asked))
    elements = image.memory.cache_elements
    outer = config.streams and not config.memory_kind.sector
    outer = outer and 8 * elements * positions * config.contexts > INNER_BITS
    codes = max(config.lanes, min(USUAL, head), config.beat // 8 if outer else 0)
    return config.override(
        attention=codes,
        queries=min(group, MOST_SHARING) if outer and config.queries == 1 else config.queries,
        positions=positions,
        outer_cache=int(outer),
        head_elements=max(codes, head),
        cache_elements=max(codes, elements),
    )


def _check_heads(image: "Image", config: "ChipConfig") -> None:
    """Refuse heads that do not divide into the unit's words: SetunError."""
    words = max(config.attention, 2 * config.lanes)
    for do in image.program:
        if do.op in HEADS and do.block % words:
            thing, power = f"heads of {do.note[:60]}".rstrip(), do.block & -do.block
            fix = f"--set attention={power}"
            if power < 2 * config.lanes:
                fix = f"--set lanes={max(1, power // 2)} " + fix
            raise SetunError(thing, f"must be a multiple of {words} elements", do.block, fix)
