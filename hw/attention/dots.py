"""Products of cached codes: with codes of queries, or with terms of the softmax."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from setun.firmware.config import ChipConfig
from setun.hw.arith.bits import pipe, shift_and_add
from setun.hw.attention.sizes import CODE_BITS, FACTOR_BITS, sum_bits
from setun.hw.pipeline import delayed, tree, tree_latency


class Dots(wiring.Component):
    """C codes of a cached word times C factors of each of G queries, on G * C multipliers.

    Either added up over a head's words, which makes a score, or each added up over positions,
    which makes a weighted sum. All sums are exact. With L-Mul each product, the same one, is made
    of seven additions: L-Mul of whole numbers would need as many cells to shift its sums.

    Members
    -------
    codes : In(C codes)
        Of the cache.
    scoring : In(1)
        The word counts for a score, and factors are `queries`; else they are `terms`.
    queries : In(G * C codes), terms : In(G numbers of TERM_BITS)
    opens : In(1)
        A head's first word, if scoring.
    dots : Out(G signed sums)
        `latency` cycles after a head's last word.
    adds, begins : In(1)
        The word counts for the weighted sums; it is their first.
    sums : Out(G * C signed sums)
        `sum_latency` cycles after a word.

    Throughput a word a cycle.
    """

    sum_latency = 3

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.count = config.attention
        self.latency = 3 + tree_latency(config.attention)
        self.dot_bits = 2 * CODE_BITS + ceil_log2(config.head_elements)
        g, c = config.queries, config.attention
        super().__init__(
            {
                "codes": In(data.ArrayLayout(signed(CODE_BITS), c)),
                "scoring": In(1),
                "queries": In(data.ArrayLayout(signed(CODE_BITS), g * c)),
                "terms": In(data.ArrayLayout(FACTOR_BITS - 1, g)),
                "opens": In(1),
                "dots": Out(data.ArrayLayout(signed(self.dot_bits), g)),
                "adds": In(1),
                "begins": In(1),
                "sums": Out(data.ArrayLayout(signed(sum_bits(config)), g * c)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, every = self.count, range(self.config.queries)
        codes = [pipe(m, code, f"code{k}") for k, code in enumerate(self.codes)]
        adds, begins = delayed(m, Cat(self.adds, self.begins), 2, "counts", reset=True)
        scores, opens = delayed(
            m, Cat(self.scoring, self.opens), 2 + tree_latency(c), "opens", reset=True
        )
        for g in every:
            products = []
            for k in range(c):
                factor = Signal(signed(FACTOR_BITS), name=f"factor{g}_{k}", reset_less=True)
                term = Cat(self.terms[g], 0).as_signed()
                m.d.sync += factor.eq(Mux(self.scoring, self.queries[g * c + k], term))
                name = f"product{g}_{k}"
                if self.config.numerics.lmul:
                    product = pipe(m, shift_and_add(m, factor, codes[k], name=f"part{g}_{k}"), name)
                else:
                    product = pipe(m, factor * codes[k], name)
                products.append(product)
                total = self.sums[g * c + k]
                with m.If(adds):
                    m.d.sync += total.eq(Mux(begins, 0, total) + product)
            small = 2 * CODE_BITS  # a score's products are those of codes
            dot = tree(m, [p[:small].as_signed() for p in products], lambda a, b: a + b, f"dot{g}")
            joined = self.dots[g]
            with m.If(scores):
                m.d.sync += joined.eq(Mux(opens, 0, joined) + dot)
        return m
