"""Fields of a word of the small core's microprogram: what moves where, and what comes next."""

from enum import IntEnum


class Source(IntEnum):
    """What drives the bus."""

    MEMORY = 0  # data memory, at the address of the word before
    CONSTANT = 1  # constants, likewise
    PRODUCT = 2
    SUM = 3
    SIGMOID = 4
    ROOT = 5
    CONVERTED = 6
    IMMEDIATE = 7
    LARGEST = 8
    ZERO = 9


class To(IntEnum):
    """Where the bus goes, beside memory."""

    NOWHERE = 0
    P = 1  # first operand of every unit
    Q = 2  # second operand of multiplier and adder
    LARGEST = 3  # keep the largest magnitude
    CODE = 4  # next code of the activation memory
    SQUARE = 5  # add its square to the sum
    ROW_SQUARE = 6  # add the square of the array's row to the sum
    KEY_GREEDY = 7  # candidate of the sampler, if it is greedy
    KEY_RANDOM = 8  # or if it is not
    CLEAR = 9  # forget largest, sum and place of the next code


class Where(IntEnum):
    """Address in data memory, read for the next word or written in this one."""

    SOURCE = 0
    DESTINATION = 1
    STATE = 2
    SCALAR = 3


class Scalar(IntEnum):
    """Numbers behind the vectors."""

    ONE = 0
    EPS_OUTER = 1
    EPS_INNER = 2
    SCALE = 3  # of the codes
    ROW_SCALE = 4  # of the matvec's rows
    KEPT = 5
    MEAN = 6
    ROW_SQUARES = 7


class Convert(IntEnum):
    """What the integer converter looks at."""

    ROW = 0
    SUM = 1  # of squares of floats
    ROW_SUM = 2  # of squares of rows


class Next(IntEnum):
    """Which word follows."""

    ON = 0
    LOOP = 1  # the target for the next element, on behind the last
    JUMP = 2
    CHOICE = 3  # target + the instruction's kernel or mean square
    ARRAY = 4  # on, once the array has made the next group of rows
    ROW = 5  # the target for the next row, the word before it for the next group
    DONE = 6
