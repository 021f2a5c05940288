"""The benchmarks of speed and memory run, at a tiny size, and refuse what cannot work."""

import importlib
import sys

import golden
import numpy as np
import pytest

from slotjax.errors import UserError


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a benchmark as its own command would."""
    monkeypatch.setattr(sys, "path", [str(golden.ROOT / "benchmarks"), *sys.path])
    return importlib.import_module


def words(flags: str) -> list[str]:
    return flags.split()


@pytest.mark.slow
def test_step_prints_its_table_and_the_floor(benchmark, capsys):
    benchmark("step").main(words("--resolution 16 --batch 4 --rounds 1 --gemm 64"))
    out = capsys.readouterr().out
    assert "no PyTorch rows" in out and "times slotjax's" in out and "floor: " in out
    difference = out.split("reconstruction ")[1].split(",")[0]
    assert float(difference) < 1e-4


def test_the_operations_of_a_step_are_counted(benchmark):
    step = benchmark("step")
    config = step.read_config(step.parse(words("--resolution 64 --batch 4")))
    pixels = 4 * 64 * 64
    last_layers = 2 * 3 * 7 * pixels * 64 * (25 * 64 + 9 * 4)
    strided = sum(2 * 3 * 7 * pixels / 4**i * 25 * 64 * 64 for i in range(1, 5))
    encoder = 2 * pixels * 25 * 64 * (3 * 3 * 64 + 2 * 3)
    assert step.multiplications(config) == pytest.approx(last_layers + strided + encoder, rel=0.01)


@pytest.mark.slow
def test_memory_prints_both_tables(benchmark, capsys):
    benchmark("memory").main(words("--variant tiny --resolutions 16 --slots 2 --batch 2 --depths 2 --tokens 16"))
    out = capsys.readouterr().out
    assert "| 16 | 2 | 3 | yes |" in out and "| 2 | last |" in out


@pytest.mark.slow
def test_growth_prints_and_draws(benchmark, capsys, tmp_path, monkeypatch):
    growth = benchmark("growth")
    monkeypatch.setattr(growth, "MIDDLE", {"tokens": 16, "slots": 2, "iterations": 1, "batch": 1})
    flags = words("--tokens 16 32 --slots 2 --iterations 1 --batch 1 --rounds 1 --figure")
    growth.main([*flags, str(tmp_path / "growth.png")])
    out = capsys.readouterr().out
    assert "| tokens | 32 |" in out and "microseconds for each further token" in out
    assert (tmp_path / "growth.png").stat().st_size > 1000


@pytest.mark.slow
def test_devices_prints_a_row_for_each_count(benchmark, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    benchmark("devices").main(words("--resolution 16 --batch 2 --rounds 1 --gemm 64"))
    out = capsys.readouterr().out
    assert "| 1 |" in out and "| 2 |" in out and "| 4 |" not in out
    assert (tmp_path / "devices.png").stat().st_size > 1000


@pytest.mark.slow
def test_waiting_looks_at_a_real_run(benchmark, capsys, tmp_path):
    benchmark("waiting").main(words(f"--config configs/quick.py:tiny --steps 4 --trace {tmp_path / 'trace'}"))
    share = float(capsys.readouterr().out.split("| host:CPU | ")[1].split("%")[0])
    assert 0 < share <= 100
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))


@pytest.mark.slow
@pytest.mark.skipif(not (golden.ROOT / ".git").exists(), reason="takes a repository")
def test_versions_times_a_commit_from_the_same_parameters(benchmark, capsys):
    benchmark("versions").main(words("HEAD --config configs/quick.py:tiny --rounds 1 --steps 1"))
    out = capsys.readouterr().out
    losses = [line.split("first step ")[1] for line in out.splitlines() if "first step" in line]
    assert len(losses) == 2 and losses[0] == losses[1]
    assert "| HEAD |" in out and "| this tree |" in out


def test_versions_refuses_parameters_of_another_model(benchmark, tmp_path):
    worker = benchmark("version_worker")
    path = tmp_path / "parameters.npz"
    first = worker.shared({"a": np.ones((2, 3)), "b": np.zeros(4)}, path)
    np.testing.assert_array_equal(worker.shared({"a": np.zeros((2, 3)), "b": np.ones(4)}, path)["a"], first["a"])
    with pytest.raises(SystemExit, match="other shapes"):
        worker.shared({"a": np.ones((3, 2)), "b": np.zeros(4)}, path)


def test_spans_of_work_are_merged(benchmark):
    waiting = benchmark("waiting")
    spans = waiting.merged(np.array([[5e6, 6e6], [0.0, 2e6], [1e6, 3e6], [1.5e6, 1.6e6]]))
    np.testing.assert_array_equal(spans, [[0, 3e6], [5e6, 6e6]])
    assert waiting.row("gpu", spans) == "| gpu | 66.67% | 2.00 | 1 | 0.0 |"


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("step", "--resolution 40", "--resolution=40: .* multiple of 16"),
        ("step", "--rounds 0", "--rounds=0: must be at least 1"),
        ("step", "--dtype float8", "--dtype=float8: choose one of"),
        ("step", "--torch-peer nowhere.py", "--torch-peer=nowhere.py: no such file"),
        ("memory", "--batch 3", "--batch=3: take an even number"),
        ("memory", "--slots 0", "--slots=0"),
        ("growth", "--tokens 0", "--tokens=0"),
        ("growth", "--figure nowhere/x.png", "--figure=nowhere/x.png: no folder"),
        ("waiting", "--steps 0", "--steps=0: must be at least 1"),
        ("waiting", "--trace tests", "--trace=tests: exists already"),
        ("seeds", "--seeds 0", "--seeds=0"),
        ("versions", "HEAD --rounds 0", "--rounds=0: must be at least 1"),
        ("versions", "HEAD --config configs/nowhere.py", "--config=configs/nowhere.py: no such file in"),
        ("versions", "nowhere", "COMMIT nowhere: this repository has none of that name"),
    ],
)
def test_flags_that_cannot_work_are_named(benchmark, name, flags, message):
    with pytest.raises(UserError, match=message):
        benchmark(name).main(words(flags))
