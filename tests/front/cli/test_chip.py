"""Verbs that run chips: run, demo, generate, bench, through the command line."""

import json
import re
import tomllib
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from serial.tools import list_ports

from bench.folders import BITNET, VECTORS
from setun.cli import cli
from setun.firmware.config import ChipConfig
from setun.firmware.image.memory_layout import Space, lay_out
from setun.firmware.program.isa import Table
from setun.models.load import load_model

SMALL = ("--set", "columns=8", "--set", "rows=4", "--set", "lanes=4")


def invoke(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(a) for a in args])
    return result.exit_code, result.stdout, str(result.exception)


@pytest.fixture(scope="module")
def model() -> Path:
    return VECTORS / "a_h64_l2"


def run_json(*args: object) -> dict[str, object]:
    code, out, error = invoke("run", *args, "--json")
    assert code == 0, error
    return json.loads(out)  # type: ignore[no-any-return]


def test_run_gives_the_same_tokens_on_golden_and_chip(model: Path) -> None:
    common = (model, "--prompt-ids", "5,6,7", "-n", 9, "--temperature", 0.8, "--seed", 3)
    golden = run_json(*common)
    chip = run_json(*common, "--backend", "sim", *SMALL)
    assert golden["tokens"] == chip["tokens"] and len(golden["tokens"]) == 9  # type: ignore[arg-type]
    assert chip["golden_match"] is True
    assert chip["cycles_per_token"] > 0 and chip["tokens_per_second"] > 0  # type: ignore[operator]
    assert golden["tokens"] != run_json(*common[:-1], 4)["tokens"]
    other = run_json(*common, "--backend", "sim", *SMALL, "--set", "contexts=2", "--context", 1)
    assert other["tokens"] == golden["tokens"] and other["golden_match"] is True


def test_run_with_waves(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "chip.fst"
    run_json(model, "--prompt-ids", 1, "-n", 1, "--backend", "sim", *SMALL, "--waves", file)
    assert file.stat().st_size > 1000


def test_run_streams_text() -> None:
    code, out, error = invoke("run", "shakespeare", "--prompt", "ROMEO:", "-n", 20)
    assert code == 0, error
    assert out.startswith("\n") and len(out.splitlines()) >= 2


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--prompt", "a€"], "vocabulary"),
        (["--prompt-ids", "70"], "from 0 to 64"),
        ([], "at least one token"),
        (["--prompt", "a", "-n", "0"], "token count"),
        (["--prompt", "a", "--temperature", "-1"], "temperature"),
        (["--prompt", "a", "--seed", "-1"], "seed"),
        (["--prompt", "a", "--waves", "x.fst"], "--backend sim"),
        (["--prompt", "a", "--context", "1"], "--context: must be 0 on the golden model"),
        (["--prompt", "a", "--backend", "sim", "--context", "1"], "context: must be 0; found 1"),
        (
            ["--prompt", "a", "--backend", "sim", "--set", "contexts=2", "--context", "2"],
            "context: must be from 0 to 1; found 2",
        ),
        (["--prompt", "a", "--backend", "sim", "--context", "-1"], "context: must be 0"),
        (["--prompt", "a", "--backend", "serial"], "must be on USB or named"),
        (["--prompt", "a", "--port", "/nowhere"], "need --backend serial; found golden"),
        (["--prompt", "a", "--backend", "sim", "--baud", "9600"], "need --backend serial"),
        (["--prompt", "a", "--backend", "serial", "--port", "/nowhere"], "/nowhere"),
        (["--prompt", "a", "--set", "rows"], "KEY=VALUE"),
    ],
)
def test_run_refusals(args: list[str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_ports, "comports", list)  # a board of ours may be plugged in
    code, out, error = invoke("run", "shakespeare", *args, "--json")
    assert code != 0 and out == ""
    assert words in error and "\n" not in error


def test_generate_is_deterministic_and_its_config_is_read_back(model: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    code, out, error = invoke("generate", "-o", first, "--model", model, *SMALL, "--json")
    assert code == 0, error
    result = json.loads(out)
    assert set(result["ports"]) == {"clk", "rst", "rx", "tx"}
    text = (first / "setun.v").read_text()
    assert "module setun(" in text and "$meminit" not in text
    config = ChipConfig.from_dict(tomllib.loads((first / "config.toml").read_text()))
    assert config.to_dict() == result["config"]
    code, _, error = invoke(
        "generate", "-o", second, "--model", model, "--config", first / "config.toml"
    )
    assert code == 0, error
    assert (second / "setun.v").read_bytes() == text.encode()


@pytest.mark.parametrize("memory", ["sdram-16", "axi4-64", "qspi", "spram"])
def test_generate_lists_every_port_of_an_external_memory(tmp_path: Path, memory: str) -> None:
    code, _, error = invoke("generate", "-o", tmp_path, *SMALL, "--set", f"memory={memory}")
    assert code == 0, error
    ports = json.loads((tmp_path / "ports.json").read_text())
    text = (tmp_path / "setun.v").read_text()
    head = re.search(r"^module setun\((.*?)\);", text, re.MULTILINE | re.DOTALL)
    assert head and set(re.split(r"[,\s]+", head[1].strip())) == set(ports)
    body = text[head.end() :]
    for name, description in ports.items():
        way, width = re.match(r"(input|output), (\d+) bit:", description).groups()  # type: ignore[union-attr]
        found = re.search(rf"^  {way} (?:\[(\d+):0\] )?{name};", body, re.MULTILINE)
        assert found and int(found[1] or 0) + 1 == int(width), description


def test_generate_tells_where_a_cache_lies(tmp_path: Path) -> None:
    """Behind the model, for whoever keeps the memory: nothing need be there at first."""
    options = ("--set", "memory=axi4-64", "--set", "lanes=4", "--set", "columns=16", "--json")
    options += ("--set", "contexts=2")
    model = BITNET / "a_h64_l2_silu"
    code, out, error = invoke("generate", "-o", tmp_path, "--model", model, *options)
    assert code == 0, error
    config = ChipConfig.from_dict(json.loads(out)["config"])
    told = json.loads((tmp_path / "ports.json").read_text())["memory"]
    # Two layers of 32 keys and values a position, 4,096 of them, and an exponent for 16 codes.
    assert told["cache"]["bytes"] == 2 * (2 * 2 * 32) * 4096 * 17 // 16
    assert told["cache"]["first_byte"] >= told["bytes"] and config.outer_cache == 1


@pytest.mark.parametrize("memory", ["sdram-16", "axi4-256", "qspi"])
def test_generate_describes_the_whole_memory(model: Path, tmp_path: Path, memory: str) -> None:
    """Map and CRC of weights.bin, and what each region holds, beside the ports."""
    options = (*SMALL, "--set", f"memory={memory}", "--json")
    code, out, error = invoke("generate", "-o", tmp_path, "--model", model, *options)
    assert code == 0, error
    config, image = ChipConfig.from_dict(json.loads(out)["config"]), load_model(model)
    data = (tmp_path / "weights.bin").read_bytes()
    ports = json.loads((tmp_path / "ports.json").read_text())
    told = ports.pop("memory")
    assert ports == json.loads(out)["ports"]
    layout = lay_out(image, config)
    assert data == layout.spaces[Space.WEIGHTS].tobytes()
    assert told["file"] == "weights.bin" and told["bytes"] == len(data) <= config.memory_bytes
    assert told["crc32"] == f"{zlib.crc32(data):08x}" == f"{layout.crc(Space.WEIGHTS):08x}"
    regions = told["regions"]
    ends = [region["first_byte"] + region["bytes"] for region in regions]
    assert [region["first_byte"] for region in regions] == [0, *ends[:-1]] and ends[-1] == len(data)
    names = [region["name"] for region in regions]
    assert names[0] == "model" and names[-3:] == ["token", "records", "embedding"]
    rows = image.tables[Table.EMBEDDING]
    first = np.frombuffer(data, "<u4", rows.shape[1], regions[-1]["first_byte"])
    assert np.array_equal(first, config.vector.to_bits(rows[0]))


@pytest.mark.slow
def test_demo_and_bench_on_the_shipped_model() -> None:
    code, out, error = invoke("demo", "-n", 64, "--json")
    assert code == 0, error
    demo = json.loads(out)
    assert demo["golden_match"] is True and len(demo["tokens"]) == 64 and demo["text"].strip()
    code, out, error = invoke("bench", "--config", "onchip-256", "-n", 4, "--json", "--account")
    assert code == 0, error
    rows = json.loads(out)
    assert [row["streams"] for row in rows] == [1, 2]
    for row in rows:
        assert row["bound_cycles_per_token"] == 5028
        assert row["roofline_fraction"] == pytest.approx(5028 / row["cycles_per_token"])
        assert row["account"]["array_busy"] == pytest.approx(5028, rel=0.02)
        assert len(row["layers"]) == 6
        for key, cycles in row["account"].items():
            assert sum(layer[key] for layer in row["layers"]) == pytest.approx(cycles)
        for layer in row["layers"][1:]:  # 4 of 128 x 128 and 3 of 384 x 128 weights
            assert layer["array_busy"] == pytest.approx(832, abs=1)
            assert layer["cycles"] > 832


def test_bench_names_its_configurations() -> None:
    code, out, error = invoke("bench", "--config", "huge")
    assert code != 0 and out == "" and "onchip-256" in error
