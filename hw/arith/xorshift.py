"""One step of the generator that all noise on the chip comes from."""

from amaranth.hdl import Cat, Const, Value

STEPS = ((True, 13), (False, 17), (True, 5))  # whether leftwards, by how many bits


def xorshift32(state: Value) -> Value:
    """Next state of 32 bits, combinational: `setun.firmware.numerics.functions.xorshift32`."""
    for left, by in STEPS:
        moved = Cat(Const(0, by), state[: 32 - by]) if left else state[by:]
        state = (state ^ moved)[:32]
    return state
