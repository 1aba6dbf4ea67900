"""What a model needs of what there is: memories, FPGAs, the largest models of a board."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.folders import BITNET
from scale.big_checkpoint import write_checkpoint
from setun import boards
from setun.cli import cli
from setun.estimate.chip import estimate
from setun.estimate.room import check_room
from setun.estimate.sizes import LAYERS, STEP, largest
from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.image.memory_layout import sized_for
from setun.firmware.image.model_hash import work_hash
from setun.models.load import load_model, open_model, open_outline
from setun.models.random import outline_of

SECONDS = 2.0


def invoke(*args: object) -> tuple[dict[str, Any], str]:
    """What a verb prints as JSON, and its refusal."""
    result = CliRunner().invoke(cli, [*map(str, args), "--json"])
    if result.exception:
        assert isinstance(result.exception, SetunError), result.exception
        assert result.stdout == ""
        return {}, str(result.exception)
    return json.loads(result.stdout), ""


@pytest.mark.parametrize(
    ("board", "words"),
    [
        ("ulx3s-85f", "block RAM 142.8 of 0.5 MB; sdram-16 202.0 of 33.6 MB; qspi 202.0 of 14.7"),
        ("icebreaker", "spram-16 134.5 of 0.1 MB"),
    ],
)
def test_a_model_that_no_memory_holds_is_told_at_once(board: str, words: str) -> None:
    """In processor time: other tests run beside this one."""
    began = time.process_time()
    _, refusal = invoke("estimate", "--board", board, "--model", "random-370m")
    assert time.process_time() - began < SECONDS
    assert words in refusal and "needed of available" in refusal and "smaller model" in refusal


def test_any_fpga_is_told_what_a_chip_takes_and_which_ones_hold_it() -> None:
    began = time.process_time()
    told, _ = invoke("estimate", "--board", "generic-axi4", "--model", "random-370m")
    assert time.process_time() - began < SECONDS
    board = boards.get("generic-axi4")
    needed = {kind: n for kind, (n, _) in told["utilisation"].items()}
    assert needed == {k: n for k, n in told["anywhere"].items() if k != "ram_bits"}
    assert told["memory_bytes"] == [told["config"]["memory_bytes"], 1 << 34]
    assert told["fits"] and told["parts"]
    for name, cells in board.parts.items():
        holds = all(n <= cells[kind] for kind, n in needed.items())
        assert (name in told["parts"]) == holds, name
    small = ("--set", "lanes=4", "--set", "contexts=1", "--set", "columns=16", "--set", "rows=4")
    told, _ = invoke("estimate", "--board", "generic-axi4", "--model", "random-370m", *small)
    assert {"LFE5UM5G-85F", "XCK26"} <= set(told["parts"])


def test_capacity_of_any_fpga_is_the_most_of_one() -> None:
    board = boards.get("generic-axi4")
    for kind, most in board.capacity.items():
        assert most == max(cells[kind] for cells in board.parts.values())
    for other in map(boards.get, ("ulx3s-25f", "ulx3s-45f")):
        same = board.parts[other.device]
        assert same == {kind: other.capacity[kind] for kind in same}


@pytest.mark.parametrize("verb", ["estimate", "generate", "build", "explore"])
def test_every_verb_refuses_what_no_fpga_has(verb: str, tmp_path: Path) -> None:
    """More block RAM than any; the remedy is where there is room."""
    out = {"generate": ["-o", tmp_path / "out"], "build": ["-o", tmp_path / "out"]}
    also = {"explore": ["--estimate-only", "-o", tmp_path / "out"]}
    words = [*out.get(verb, []), *also.get(verb, [])]
    asked = ["--board", "generic-axi4", "--model", "random-2048x8", "--set", "memory=onchip"]
    _, refusal = invoke(verb, *asked, *words)
    assert "must fit a memory (needed of available); found block RAM" in refusal
    assert "of 12.4 MB" in refusal and "--set memory=axi4-256" in refusal
    assert not (tmp_path / "out").exists()


def test_a_head_beyond_the_range_of_the_bus_is_refused() -> None:
    """262,144 rows of 32,768 numbers are 34 GB, and the bus' range is 17."""
    image = outline_of((32_768, 1, 8_192, 262_144), "1.6b")
    board = boards.get("generic-axi4")
    config = ChipConfig.from_dict({**ChipConfig().to_dict(), **board.chip})
    with pytest.raises(SetunError, match=r"axi4-256 3\d,\d{3}\.\d of 17,179\.9 MB"):
        check_room(image, config, board, ())


def test_generate_tells_what_a_chip_takes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = ("--set", "columns=8", "--set", "rows=4", "--set", "lanes=4", "--set", "contexts=1")
    asked = ("--board", "generic-axi4", "--model", "random-64x1", *small)
    told, _ = invoke("generate", "-o", out, *asked)
    expected, _ = invoke("estimate", *asked)
    assert told["parts"] == expected["parts"] and "LFE5U-25F" not in told["parts"]
    assert told["needs"] == {
        **expected["anywhere"],
        "memory_bytes": expected["memory_bytes"][0],
    }
    text = CliRunner().invoke(cli, ["generate", "-o", str(out), *asked]).stdout
    assert f"{told['needs']['luts']:,} LUTs" in text and "fits LFE5U-45F" in text


def test_generate_refuses_what_no_fpga_of_the_family_has(tmp_path: Path) -> None:
    huge = ["--set", "columns=64", "--set", "rows=64", "--set", "lanes=32"]
    asked = ("--board", "ulx3s-25f", *huge, "--set", "memory=sdram-16")
    _, refusal = invoke("generate", "-o", tmp_path / "out", *asked)
    assert "must fit an FPGA of ecp5 family (needed of most)" in refusal
    assert "multipliers 357 of 156" in refusal and "fewer lanes" in refusal
    assert not (tmp_path / "out").exists()


def test_explore_estimates_for_any_fpga(tmp_path: Path) -> None:
    words = ["--board", "generic-axi4", "--model", "random-64x1", "--estimate-only"]
    few = ["--vary", "lanes=4", "--vary", "columns=8", "--vary", "rows=4,8", "--vary", "pump=1"]
    fixed = ["--set", "memory=axi4-64", "--set", "contexts=1", "--set", "packing=1.6b"]
    told, refusal = invoke("explore", *words, *few, *fixed, "--jobs", 1, "-o", tmp_path / "out")
    assert refusal == "" and told["counts"]["estimated"] == 2


def test_an_outline_has_a_models_sizes_and_cycles(tmp_path: Path) -> None:
    """Of a random model and of a checkpoint, whose weights are not read."""
    folder = tmp_path / "checkpoint"
    write_checkpoint(folder, (64, 2, 192, 100))
    for name, board in (("random-128x2", "ulx3s-85f"), (str(folder), "generic-axi4")):
        whole, outline = open_model(name).image, open_outline(name).image
        assert outline.model_hash == ""
        assert work_hash(outline) == work_hash(whole)
        assert [(m.name, m.rows, m.columns) for m in outline.matrices] == [
            (m.name, m.rows, m.columns) for m in whole.matrices
        ]
        assert {t: v.shape for t, v in outline.tables.items()} == {
            t: v.shape for t, v in whole.tables.items()
        }
        bare = [replace(i, immediate=0.0) for i in whole.program[1:]]
        assert [replace(i, immediate=0.0) for i in outline.program[1:]] == bare
        target = boards.get(board)
        config = ChipConfig.from_dict({**ChipConfig().to_dict(), **target.chip})
        found = [estimate(i, sized_for(i, config), target) for i in (whole, outline)]
        assert found[0] == found[1]


def test_one_number_for_a_matrix_is_packed_like_many() -> None:
    """An outline's codes are those of its checkpoint, all ones."""
    outline = outline_of((64, 1, 192, 32), "1.6b")
    for matrix in outline.matrices:
        assert matrix.codes().shape == (matrix.rows, matrix.columns)
        assert (matrix.codes() == 1).all()
        matrix.check(matrix.name)


@pytest.mark.parametrize(("board", "memory"), [("ulx3s-25f", "sdram-16"), ("ulx3s-85f", "onchip")])
def test_the_largest_model_fits_and_the_next_does_not(board: str, memory: str) -> None:
    """By the whole estimate of a chip of its size."""
    target = boards.get(board)
    found = largest(target, memory, LAYERS[0], 64)
    config = ChipConfig.from_dict({**ChipConfig().to_dict(), **target.chip}).override(
        memory=memory, lanes=1, contexts=1, packing="1.6b", part=target.part(memory)
    )
    fits = []
    for hidden in (found.hidden, found.hidden + STEP):
        intermediate = -(-8 * hidden // (3 * STEP)) * STEP
        image = outline_of((hidden, LAYERS[0], intermediate, 64), "1.6b")
        fits.append(estimate(image, sized_for(image, config), target).fits)
    assert fits == [True, False]
    assert found.limit in found.needed and found.weights > 0


def test_boards_tell_the_models_that_fit() -> None:
    printed = CliRunner().invoke(cli, ["boards", "--json"]).stdout
    told = {board["name"]: board for board in json.loads(printed)}
    for board in told.values():
        assert {(s["vocabulary"]) for s in board["sizes"]} == {64, 32_000}
        for size in board["sizes"]:
            assert all(n <= most for n, most in size["needed"].values()), size
            assert (size["weights"] == 0) == (size["needed"] == {})
    shipped = load_model("shakespeare-small").weights
    assert shipped == pytest.approx(told["icebreaker"]["weights"]["on_chip"], rel=0.01)
    assert load_model("shakespeare").weights < told["ulx3s-85f"]["weights"]["on_chip"]
    assert told["ulx3s-25f"]["weights"]["external"] > 50_000_000
    assert told["generic-axi4"]["weights"]["external"] > 2_700_000_000
    arty = [s["needed"]["memory_bytes"] for s in told["arty-a7-100t"]["sizes"] if s["outside"]]
    assert arty and all(most == 256 << 20 for _, most in arty)  # its DDR3, not what AXI4 reaches


def test_a_transformer_takes_longer_behind_more_tokens_and_its_cache_has_room() -> None:
    """Weights and head of 2B4T's size, and a cache of 4,096 positions behind them."""
    given = ("estimate", "--board", "generic-axi4", "--model", "random-2b4t")
    given += ("--set", "memory=axi4-512", "--set", "contexts=1", "--set", "lanes=8")
    told = {n: invoke(*given, "--position", n)[0] for n in ("128", "1024", "4095")}
    cycles = [each["cycles_per_token"] for each in told.values()]
    chip = told["128"]["config"]
    # 30 layers of keys and values of 5 heads, a byte a code, over 64 bytes a cycle.
    assert cycles[2] - cycles[1] > (4095 - 1024) * 30 * 2 * 5 * 128 / 64
    assert cycles == sorted(cycles)
    assert (chip["outer_cache"], chip["positions"], chip["queries"]) == (1, 4096, 4)
    assert told["128"]["memory_bytes"][0] > chip["memory_bytes"] + 4096 * 38_400


def test_a_search_gives_a_transformer_the_cache_that_its_memory_has_room_for() -> None:
    """4,096 positions are too many for block RAM; the board's SDRAM holds them."""
    model = str(BITNET / "a_h64_l2_silu")
    told, _ = invoke("estimate", "--board", "ulx3s-85f", "--model", model)
    assert told["fits"] and told["config"]["outer_cache"] == 1
