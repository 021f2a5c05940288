"""The benchmarks of speed and memory run, at a tiny size, and refuse what cannot work."""

import json
import time

import numpy as np
import pytest
from benchmark_runs import module as benchmark
from helpers import ROOT

from slotjax.errors import UserError

GPU_STAGES = ["versions", "smoke", "memory", "training"]  # the others run tests and benchmarks that have tests

pytestmark = pytest.mark.usefixtures("as_commands_do")


def words(flags: str) -> list[str]:
    return flags.split()


def cells(text: str, row: str) -> list[str]:
    """Of the table's row that begins with these cells."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.slow
def test_step_prints_its_table_and_the_work(capsys):
    benchmark("step").main(words("--resolution 16 --batch 4 --rounds 1 --gemm 64"))
    out = capsys.readouterr().out
    assert "no PyTorch rows" in out and "by definition " in out
    assert cells(out, "slotjax")[-1] == "1.00" and float(cells(out, "textbook Flax")[1]) > 0
    difference = out.split("reconstruction ")[1].split(",")[0]
    assert float(difference) < 1e-4


def test_the_operations_of_a_step_are_counted():
    step = benchmark("step")
    config = step.read_config(step.parse(words("--resolution 64 --batch 4")))
    pixels = 4 * 64 * 64
    last_layers = 2 * 3 * 7 * pixels * 64 * (25 * 64 + 9 * 4)
    strided = sum(2 * 3 * 7 * pixels / 4**i * 25 * 64 * 64 for i in range(1, 5))
    encoder = 2 * pixels * 25 * 64 * (3 * 3 * 64 + 2 * 3)
    assert step.multiplications(config) == pytest.approx(last_layers + strided + encoder, rel=0.01)


def test_turns_are_taken_and_ratios_are_of_rounds():
    timing, asked = benchmark("timing"), []
    functions = {name: lambda name=name: float(asked.append(name) or len(asked)) for name in "ab"}
    seconds = timing.in_turns(functions, 3)
    assert asked == list("ababab") and seconds == {"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]}
    assert timing.ratio([1.0, 2.0, 30.0], [2.0, 2.0, 10.0]) == 1.0
    assert timing.times([0.001, 0.004, 0.002]) == ["2.0", "1.0 to 4.0"]


@pytest.mark.slow
def test_memory_prints_both_tables(capsys):
    flags = "--config configs/clevr.py:tiny --resolutions 16 --slots 2 --batch 2 --depths 2 --tokens 16 --rounds 1"
    benchmark("memory").main(words(flags))
    out = capsys.readouterr().out
    assert float(cells(out, "16 | 2 | 3 | no")[4]) > float(cells(out, "16 | 2 | 3 | yes")[4]) > 0
    assert float(cells(out, "2 | all")[2]) > float(cells(out, "2 | last")[2]) > 0


@pytest.mark.slow
def test_recipes_are_written_into_the_page(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- recipes -->\nold\n<!-- end of recipes -->\nafter\n")
    benchmark("recipes").main(["quick", "--rounds", "1", "--docs", str(tmp_path)])
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    *_, work, used, products, moving, other = cells(text, "quick")
    assert float(work) > 0 and int(used[:-1]) > 0
    assert sum(int(x[:-1]) for x in (products, moving, other)) == pytest.approx(100, abs=2)


def test_operations_are_of_a_kind():
    kind = benchmark("recipes").kind
    names = ["ynn_fusion.3", "dot.4", "copy_bitcast_fusion", "wrapped_dynamic-slice.2", "add_bitcast_fusion", "reduce"]
    assert [kind(name) for name in names] == ["products"] * 2 + ["moving"] * 2 + ["else"] * 2


@pytest.mark.slow
def test_growth_prints_and_draws(capsys, tmp_path, monkeypatch):
    growth = benchmark("growth")
    monkeypatch.setattr(growth, "MIDDLE", {"tokens": 16, "slots": 2, "iterations": 1, "batch": 1})
    flags = words("--tokens 16 32 --slots 2 --iterations 1 --batch 1 --frames 2 4 --rounds 1 --figure")
    growth.main([*flags, str(tmp_path / "growth.png")])
    out = capsys.readouterr().out
    (first, second) = (line for line in out.splitlines() if line.startswith("| tokens | 32 |"))
    assert float(first.split("|")[3]) > 0 and "plain: " in out
    compiled, counted = map(float, second.split("|")[5:7])
    assert counted < compiled < 3 * counted  # norms, softmax and the rest besides
    assert float(cells(out, "frames | power, 2 to 4")[3]) > 0
    assert (tmp_path / "growth.png").exists()


@pytest.mark.slow
def test_all_stages_for_a_gpu_run(tmp_path):
    gpu = benchmark("gpu")
    gpu.main(["--tiny", "--minutes", "20", "--out", str(tmp_path), "--only", *GPU_STAGES])
    results = json.loads((tmp_path / "results.json").read_text())
    assert {result["name"]: result["outcome"] for result in results} == dict.fromkeys(GPU_STAGES, "done"), results
    assert cells((tmp_path / "results.md").read_text(), "smoke | done")
    gpu.main(["--tiny", "--out", str(tmp_path), "--only", "training"])
    assert "nothing to do" in (tmp_path / "training.txt").read_text()  # it goes on where it was


def test_a_stage_that_hangs_or_fails_leaves_the_rest(tmp_path):
    gpu = benchmark("gpu")
    commands = {"hangs": "import time; time.sleep(60)", "fails": "raise SystemExit('error: so')", "runs": "print(1)"}
    stages = [gpu.Stage(name, ("-c", code), 1 if name == "hangs" else 60) for name, code in commands.items()]
    found = [gpu.taken(stage, time.monotonic() + 100, tmp_path) for stage in stages]
    assert [result.outcome for result in found] == ["out of time", "failed", "done"]
    assert found[1].said == ["error: so"] and found[2].said == ["1"]


def test_powers_are_those_of_the_upper_half():
    growth = benchmark("growth")
    found = {n: growth.Taken(7.0 + n, n**2, 1e6 * n**0.5, None) for n in (1, 4, 16)}
    *rows, last = growth.grown(found)
    assert [row[0] for row in rows] == ["1", "4", "16"] and rows[1][3] == "2.00"
    assert last == ["power, 4 to 16", "0.53", "2.00", "0.50", ""]


@pytest.mark.slow
def test_start_prints_its_table(capsys):
    benchmark("start").main(words("--config configs/quick.py:tiny --rounds 1"))
    out = capsys.readouterr().out
    alone, whole, first, again, package = map(float, cells(out, "this tree")[1:])
    assert 0 < alone < whole < again < first and package > 1
    assert "jaxlib " in out


@pytest.mark.slow
def test_devices_prints_a_row_for_each_count(capsys):
    benchmark("devices").main(words("--config configs/quick.py:tiny --batch 2 --rounds 1"))
    out = capsys.readouterr().out
    assert cells(out, "1")[-1] == "1.00" and float(cells(out, "2")[-1]) > 0 and "| 4 |" not in out


@pytest.mark.slow
def test_matching_and_clustering_and_rendering_print(capsys):
    benchmark("matching").main(words("--config configs/clevr_set.py:tiny --batch 4 --rounds 1"))
    assert "% of the step" in capsys.readouterr().out
    benchmark("clustering").main(words("--batch 1 --rounds 1"))
    assert float(cells(capsys.readouterr().out, "colour | 1")[-1]) < 1e-4  # as far as the inertias are apart
    benchmark("render").main(words("--count 2 --resolution 32 --rounds 1 --frames 2 --step-seconds 1"))
    out = capsys.readouterr().out
    assert "rendering's share of a step: " in out and "| moving_sprites, 2 | " in out


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="takes a repository")
def test_versions_times_a_commit_from_the_same_parameters(capsys):
    benchmark("versions").main(words("HEAD --config configs/quick.py:tiny --rounds 1 --steps 1"))
    out = capsys.readouterr().out
    losses = [line.split("first step ")[1] for line in out.splitlines() if "first step" in line]
    assert len(losses) == 2 and losses[0] == losses[1]
    assert cells(out, "this tree") and cells(out, "HEAD")


def test_versions_refuses_parameters_of_another_model(tmp_path):
    worker = benchmark("version_worker")
    path = tmp_path / "parameters.npz"
    first = worker.shared({"a": np.ones((2, 3)), "b": np.zeros(4)}, path)
    np.testing.assert_array_equal(worker.shared({"a": np.zeros((2, 3)), "b": np.ones(4)}, path)["a"], first["a"])
    with pytest.raises(SystemExit, match="other shapes"):
        worker.shared({"a": np.ones((3, 2)), "b": np.zeros(4)}, path)


@pytest.mark.slow
def test_a_trick_is_timed_on_and_off(capsys, monkeypatch):
    tricks = benchmark("tricks")
    monkeypatch.setattr(tricks, "RECIPES", tricks.RECIPES[:1])
    tricks.main(words("--tiny --only vector"))
    row = cells(capsys.readouterr().out, "configs/quick.py:tiny")
    assert float(row[-1]) == pytest.approx(float(row[5]) / float(row[3]), rel=0.1)


@pytest.mark.slow
def test_without_a_trick_the_step_is_the_same(monkeypatch):
    """To rounding; so that what a table compares is speed alone."""
    tricks, losses = benchmark("tricks"), {}
    for off in ({}, {"convolutions": False}, {"dense": False}, {"vector": False}):
        with monkeypatch.context() as context:
            for layer in (tricks.layers.Conv, tricks.layers.ConvTranspose):
                context.setattr(layer, "fast", staticmethod(layer.fast))
            context.setattr(tricks.dense, "product", tricks.dense.product)
            setting = tricks.Setting("configs/quick.py:tiny", cores="threads", **off)
            _, metrics = tricks.stepper(tricks.opened(setting), setting)()
            losses[json.dumps(off)] = float(metrics["loss"])
    first = losses.pop("{}")
    assert losses == {name: pytest.approx(first, rel=1e-4) for name in losses}


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
        ("gpu", "--tiny", "--out is missing"),
        ("gpu", "--tiny --out x --only nothing", "--only nothing: choose among versions, smoke, "),
        ("tricks", "--only nothing", "--only nothing: choose among cores, "),
        ("versions", "HEAD --rounds 0", "--rounds=0: must be at least 1"),
        ("versions", "HEAD --config configs/nowhere.py", "--config=configs/nowhere.py: this tree has no such file"),
    ],
)
def test_flags_that_cannot_work_are_named(name, flags, message):
    with pytest.raises(UserError, match=message):
        benchmark(name).main(words(flags))


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="takes a repository")
def test_a_commit_that_is_none_is_named():
    with pytest.raises(SystemExit, match="nowhere: this repository has no such commit"):
        benchmark("versions").main(["nowhere"])


@pytest.mark.slow
def test_costs_are_added_to_those_that_are_known(tmp_path, capsys):
    path = tmp_path / "costs.json"
    path.write_text('{"clevr:small": {"minutes": 3.0, "gib": 1.0}}')
    benchmark("costs").main(["quick:tiny", "--steps", "4", "6", "--output", str(path)])
    costs = json.loads(path.read_text())
    assert costs.keys() == {"clevr:small", "quick:tiny"} and costs["clevr:small"]["minutes"] == 3
    assert 0.1 < costs["quick:tiny"]["gib"] < 4 and 0 < costs["quick:tiny"]["minutes"] < 10
    assert "ms of processor time a step" in capsys.readouterr().out
