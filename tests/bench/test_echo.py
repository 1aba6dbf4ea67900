"""The benches' own test: they pass what is right and name what is wrong."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.bench_echo import CORRUPT, DROP, Echo
from bench.mismatch import Mismatch, compare
from bench.runner import WAVES, run_bench, to_verilog
from setun.firmware.numerics.formats import Format

COUNT = 400
VALUES = np.random.default_rng(5).integers(0, 1 << 18, COUNT)


def _echo(*, fault: int = 0, stalls: tuple[float, float] = (0.0, 0.0), seed: int = 1) -> None:
    run_bench(
        Echo(),
        "bench.bench_echo",
        parameters={"fault": fault, "stall_in": stalls[0], "stall_out": stalls[1]},
        arrays={"values": VALUES},
        seed=seed,
    )


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.7), (0.4, 0.4)])
def test_stream_passes_under_stalls(stalls: tuple[float, float]) -> None:
    _echo(stalls=stalls, seed=3)


def _refused(**options: Any) -> tuple[str, Path]:
    with pytest.raises(pytest.fail.Exception) as caught:
        _echo(**options)
    message = str(caught.value)
    kept = re.search(r"kept in (\S+):", message)
    assert kept, message
    return message, Path(kept[1])


def test_wrong_word_is_named_and_waves_are_kept() -> None:
    message, folder = _refused(fault=CORRUPT, stalls=(0.3, 0.3), seed=8)
    want, got = VALUES[99], VALUES[99] ^ 4
    assert f"layer 3 unit echo value: 1 of {COUNT} differ" in message
    assert f"index 99: expected {want} 0x{want:05x}, got {got} 0x{got:05x}" in message
    assert "seed 8" in message
    assert "seed 8" in (folder / "simulation.log").read_text()
    assert (folder / "waves.fst").stat().st_size > 1000
    groups = (folder / "waves.gtkw").read_text()
    assert "-stream i\n@22\ntop.i__payload[29:0]\ntop.i__valid\ntop.i__ready\n" in groups
    shutil.rmtree(folder)


def test_broken_handshake_is_refused() -> None:
    message, folder = _refused(fault=DROP, stalls=(0.0, 0.8))
    assert "then dropped valid" in message
    shutil.rmtree(folder)


def test_waves_option_writes_a_file_for_each_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WAVES, str(tmp_path / "echo.fst"))
    _echo()
    _echo()
    for name in ("echo", "echo-2"):
        assert (tmp_path / f"{name}.fst").read_bytes()[:1] == b"\0"  # an FST header block
        assert (tmp_path / f"{name}.gtkw").exists()


def test_unknown_simulator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM", "crystal-ball")
    with pytest.raises(pytest.UsageError, match="SIM=crystal-ball"):
        _echo()


def test_verilog_is_the_same_under_any_hash_seed() -> None:
    code = "from bench.bench_echo import *; from bench.runner import *; print(to_verilog(Echo()))"
    env = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == to_verilog(Echo()).strip()


def test_report_lists_eight_and_counts_all() -> None:
    fmt = Format(8, 9)
    want = fmt.to_bits(np.arange(1.0, 21.0)).astype(np.int64)
    with pytest.raises(Mismatch) as caught:
        compare("x", want, want ^ 1, fmt, inputs={"a": np.arange(20)})
    lines = str(caught.value).splitlines()
    assert caught.value.count == 20
    assert lines[0] == "x: 20 of 20 differ"
    assert lines[1].startswith("  index 0: expected 65024 0x0fe00 (1), got 65025 0x0fe01 (1.00195")
    assert lines[2].endswith("a 1 0x1")
    assert len(lines) == 10 and lines[-1] == "  ... and 12 more"


def test_report_of_shapes() -> None:
    with pytest.raises(Mismatch, match=r"expected shape \(3,\), got \(2,\)"):
        compare("tokens", [1, 2, 3], [1, 2])
