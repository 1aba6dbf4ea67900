"""Which test runs a command of the docs: every one has its test, and a test says so."""

import re

from docs.pages import Shown

HERE = "tests/docs/test_docs.py"
QUICK = f"{HERE}::test_quick_commands_run"
SLOW = f"{HERE}::test_all_commands_run"
INLINE = f"{HERE}::test_inline_commands_run"
CHIP = "tests/docs/test_board_commands.py::test_on_the_small_chip"
CHIPS = "tests/docs/test_board_commands.py::test_on_each_boards_chip"
BUILDS = "tests/hw/fpga/test_boards.py::test_bitstream"
DASK = "tests/front/explore/test_dask.py::test_a_worker_that_dies_takes_no_result_along"
MAKE = f"{HERE}::test_make_does_what_its_lines_say"
INSTALL = "tests/test_first_contact.py::test_installed_as_the_docs_say"
SERVE = "tests/front/cli/test_serve.py::test_commands_of_the_docs"
TRAIN = "tests/train/test_docs.py::test_commands_of_the_page"
REPORT = "tests/docs/test_figures.py::test_a_report_goes_into_the_table"
MEASURE = f"{HERE}::test_measuring_again_finds_nothing_to_do"

# First words of a command, and the test that runs it; the first line that fits counts.
RUNS: tuple[tuple[str, str], ...] = (
    (r"git clone … setun && cd setun$", MAKE),
    (r"make (demo|serve|test|lint|wheel)\b", MAKE),
    (r"python3 -m venv venv && \. venv/bin/activate$", INSTALL),
    (r"pip install ", INSTALL),
    (r"python -m setun\.estimate\.measure$", MEASURE),
    (r"python -m setun\.estimate\.measure --report ", REPORT),
    (r"(setun train|setun run small|python -m setun\.train\.speed$)", TRAIN),
    (r"python (-m |docs/make/)", INLINE),
    (r"dask (scheduler|worker)\b", DASK),
    (r"setun explore .*--scheduler ", DASK),
    (r"setun explore (?!.*--vary)", SLOW),
    (r"setun (flash|load|stream)\b", CHIP),
    (r"setun serve\b", SERVE),
    (r"setun build .*--dry-run", QUICK),
    (r"setun build --board generic-axi4 ", SLOW),
    (r"setun build --board [\w-]+ (--model shakespeare(-small)? )?-o out$", BUILDS),
    (r"setun (build|bench|demo)\b", SLOW),
    (r"setun eval (?!.*--tokens)", SLOW),
    (r"setun run .*--backend serial\b", CHIP),
    (r"setun run .*--backend sim\b", SLOW),
    (r"setun (-h|--help|--version|[a-z]+)\b", QUICK),
)
# Words that stand for what a reader has, in commands between back quotes: forms, not commands.
PLACEHOLDERS = {"B", "M", "NAME", "PROGRAMMER", "FOLDER"}


def runner(command: Shown) -> str | None:
    """The test that runs a command, None if none does."""
    text = command.text.partition("  ")[0].partition(" #")[0].strip()
    return next((test for pattern, test in RUNS if re.match(pattern, text)), None)


def form(command: Shown) -> bool:
    """Whether a command between back quotes is a mention of a verb or has a placeholder."""
    words = command.words
    return (words[0] == "setun" and len(words) == 2) or bool(PLACEHOLDERS & set(words))
