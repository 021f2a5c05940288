"""The published results: what is trained, what is read from run directories, and what the tables say."""

import importlib
import json
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import golden
import jax
import numpy as np
import pytest

import slotjax
from slotjax import configuration
from slotjax.errors import EXIT_STOPPED, UserError
from slotjax.loading import save_weights

BENCHMARKS = golden.ROOT / "benchmarks"
PAUSED = 100_000.0  # seconds between two stretches


@pytest.fixture(autouse=True)
def as_commands_do(monkeypatch):
    """Benchmarks import each other as scripts in one folder do; their signal handlers do not outlive a test."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def module(name: str):
    return importlib.import_module(name)


def written(folder: Path, name: str, seed: int, finals: list[float], steps: int | None = None, **fields) -> Path:
    """A run by hand, an evaluation every 10 steps and a line every 5, a second a step; once it paused."""
    path, _, variants = name.partition(":")
    config = golden.load_config_file(path).get_config(variants)
    config.seed, config.train.num_steps = seed, steps or 10 * len(finals)
    config.train.update(fields)
    folder.mkdir(parents=True)
    configuration.save(config, folder / "config.json")
    rows = []
    for step in range(5, 10 * len(finals) + 1, 5):
        rows.append({"step": step, "loss": 1 / step, "time": 1000.0 + step + (PAUSED if step > 5 else 0)})
        if step % 10 == 0:
            value = finals[step // 10 - 1]
            rows.append({"step": step, "fg_ari": value, "ari": 0.5, "miou": value / 2, "mse": 0.1, "num_images": 320})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def section(text: str, name: str) -> str:
    return text.split(f"\n## {name}\n")[1].split("\n## ")[0]


@pytest.fixture
def quick(tmp_path):
    """Three of five seeds: one good, one failed, one on its way."""
    folder = tmp_path / "runs" / "quick"
    written(folder / "seed_0", "quick", 0, [0.2, 0.95], steps=20)
    written(folder / "seed_1", "quick", 1, [0.99, 0.75], steps=20)
    written(folder / "seed_2", "quick", 2, [0.97], steps=20)
    record = {"seconds": 90.0, "device": "1 x Abacus", "versions": "jax 0.0"}
    (folder / "seed_0" / "stretches.json").write_text(json.dumps([record, record]))
    (folder / "clustering").mkdir()
    (folder / "clustering" / "kmeans.json").write_text(json.dumps({"fg_ari": 0.123, "ari": 0.9, "miou": 0.4}))
    return tmp_path


def report(folder: Path) -> str:
    flags = ["--report-only", "--workdir", str(folder / "runs"), "--docs", str(folder / "docs")]
    assert module("results").main(flags) == 0
    return (folder / "docs" / "results.md").read_text()


def test_the_tables_say_what_the_directories_hold(quick):
    text = report(quick)
    assert "| [quick](#quick) | FG-ARI |  | 0.850 ± 0.141 | 2 | 1 of 2 (FG-ARI below 0.9) |" in text
    own = section(text, "quick")
    # 20 steps of a second each, whatever the pause; 180 seconds of commands.
    assert "| 0 | 0.950 | 0.500 | 0.475 | 0.100 | 20 | 0.3 | 3.0 |" in own
    assert "| 1 | 0.750 | 0.500 | 0.375 | 0.100 | 20 | 0.3 |  |" in own
    assert "| 2 |  |  |  |  | step 10 of 20 |" in own
    assert own.count("not measured yet") == len(module("results").RUNS["quick"].seeds) - 3
    assert "| mean ± std | 0.850 ± 0.141 | 0.500 ± 0.000 | 0.425 ± 0.071 |" in own
    assert "| k-means on colour | 0.123 | 0.900 | 0.400 |  |" in own
    assert "On 1 x Abacus, jax 0.0; scored on 320 held-out images" in own
    assert "train.num_steps: 20 / 4000" in own
    assert "| [clevr6](#clevr6) | FG-ARI | 0.988 ± 0.003 | not measured yet | 0 |  |" in text
    assert "|  | AP@0.25 | 0.108 | not measured yet | 0 |  |" in text
    assert "| [clevr_set_quick](#clevr_set_quick) | AP@inf |  | not measured yet | 0 |  |" in text
    assert "trains `configs/tetrominoes.py`: not measured yet." in section(text, "tetrominoes")
    assert str(quick) not in text and str(golden.ROOT) not in text
    assert (quick / "docs" / "figures" / "results_quick.png").stat().st_size > 5000


def test_what_another_machine_measured_stays(quick):
    before = report(quick)
    (quick / "runs").rename(quick / "elsewhere")
    assert report(quick) == before
    (quick / "elsewhere").rename(quick / "runs")
    written(quick / "runs" / "quick" / "seed_3", "quick", 3, [0.5, 0.5], steps=20)
    assert "2 of 3 (FG-ARI below 0.9)" in report(quick)


def test_seeds_side_by_side_share_their_minutes(tmp_path):
    folder = tmp_path / "runs" / "tetrominoes"
    for seed in (0, 1):
        written(folder / f"seed_{seed}", "tetrominoes", seed, [0.5, 0.99], steps=20)
    record = {"seconds": 120.0, "device": "1 x Abacus", "versions": "jax 0.0"}
    (folder / "stretches.json").write_text(json.dumps([record]))
    own = section(report(tmp_path), "tetrominoes")
    assert "| 1 | 0.990 | 0.500 | 0.495 | 0.100 | 20 | 0.3 | 2.0 |" in own and "side by side" in own
    assert "| paper | 0.995 ± 0.002 |" in own


def test_finished_means_scored_after_the_last_step(tmp_path):
    stretches = module("stretches")
    run = written(tmp_path / "run", "quick", 0, [0.5, 0.5], steps=20)
    assert stretches.finished(run) and stretches.progress(run) == (20, 20)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert not stretches.finished(run) and stretches.progress(run) == (20, 20)
    assert stretches.progress(tmp_path) is None


def test_one_program_for_all_seeds_or_one_for_each(tmp_path):
    Experiment = module("stretches").Experiment
    alone = Experiment(tmp_path / "x", "configs/quick.py", ("train.num_steps=7",), (3, 4)).programs()
    assert [program.workdir.name for program in alone] == ["seed_3", "seed_4"]
    assert alone[1].command[:5] == (
        "train.py", "--config", "configs/quick.py", "--config.train.num_steps=7", "--config.seed=4",
    )  # fmt: skip
    (together,) = Experiment(tmp_path / "x", "configs/quick.py", (), (3, 4), together=True).programs()
    assert "--config.seed=3" in together.command and "--config.train.num_seeds=2" in together.command
    assert together.workdir == tmp_path / "x" and together.runs == tuple(program.workdir for program in alone)
    (single,) = Experiment(tmp_path / "x", "configs/quick.py", (), (3,), together=True).programs()
    assert single == Experiment(tmp_path / "x", "configs/quick.py", (), (3,)).programs()[0]
    with pytest.raises(UserError, match="--no-together"):
        Experiment(tmp_path / "x", "configs/quick.py", (), (3, 5), together=True).programs()


SAVES_WHEN_ASKED = """
import json, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
metrics = folder / "metrics.jsonl"
steps = json.loads(metrics.read_text())["step"] if metrics.exists() else 0
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
while steps < 40 and not asked:
    time.sleep(0.05)
    steps += 1
metrics.write_text(json.dumps({"step": steps, "num_images": 8, "fg_ari": 0.5}) + "\\n")
sys.exit(75 if asked else 0)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A run whose training takes two seconds, and saves when it is asked to stop."""
    stretches = module("stretches")
    monkeypatch.setattr(stretches, "machine", lambda: {"device": "1 x Abacus", "versions": "jax 0.0"})
    script, run = tmp_path / "train.py", written(tmp_path / "run", "quick", 0, [], steps=40)
    (run / "metrics.jsonl").unlink()
    script.write_text(SAVES_WHEN_ASKED)
    return stretches.Program((str(script), str(run)), run, (run,))


def test_training_stops_at_the_deadline_and_goes_on(program, capsys):
    stretches = module("stretches")
    assert stretches.train([program], stretches.Deadline(0.8 / 60)) == []
    (first,) = stretches.stretches(program.workdir)
    assert 0.7 < first["seconds"] < 2 and 0 < stretches.progress(program.workdir)[0] < 40
    command = ["results.py", "quick", "--minutes", "1"]
    assert stretches.conclude([program], [], command) == EXIT_STOPPED
    assert "go on with: python results.py quick --minutes 1" in capsys.readouterr().out
    assert stretches.train([program], stretches.Deadline(None)) == [] and program.finished
    assert stretches.conclude([program], [], command) == 0
    assert len(stretches.stretches(program.workdir)) == 2
    start = time.monotonic()
    stretches.train([program], stretches.Deadline(None))
    assert time.monotonic() - start < 0.5 and len(stretches.stretches(program.workdir)) == 2


def test_a_signal_stops_training_as_the_deadline_does(program):
    stretches = module("stretches")
    deadline = stretches.Deadline(None)
    signal.setitimer(signal.ITIMER_REAL, 0.8)
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    assert stretches.train([program], deadline) == []
    assert deadline.passed and 0 < stretches.progress(program.workdir)[0] < 40


def test_a_run_that_fails_is_told_and_the_others_go_on(program):
    stretches = module("stretches")
    broken = stretches.Program(
        ("-c", "import sys; sys.exit(2)"), program.workdir.parent / "broken", (program.workdir.parent,)
    )
    wrong = stretches.train([broken, program], stretches.Deadline(None))
    assert program.finished
    assert len(wrong) == 1 and "broken: train.py ended with code 2" in wrong[0]


def test_the_ablation_lists_every_variant(tmp_path):
    ablation = module("ablation")
    folder = tmp_path / "runs" / "20_steps"
    for seed, end in enumerate((0.95, 0.91)):
        written(folder / "baseline" / f"seed_{seed}", "quick", seed, [0.1, end], steps=20)
    written(folder / "no_clip" / "seed_0", "quick", 0, [0.1, 0.6], steps=20, clip_norm=0.0)
    flags = ["--report-only", "--steps", "20", "--workdir", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    assert ablation.main(flags) == 0
    text = (tmp_path / "docs" / "ablation.md").read_text()
    assert "| baseline |  | the config as it is | 0.930 ± 0.028 |" in text
    assert "| no_clip | `train.clip_norm=0.0` | the paper clips no gradients | 0.600 | 0.500 | 0.300 | 1 of 1" in text
    assert "| no_clip | 0 | 0.600 | 0.500 | 0.300 | 0.100 | 20 |" in text
    assert text.count("not measured yet") == len(ablation.VARIANTS) - 2


@pytest.mark.parametrize("name", ["results", "ablation"])
def test_nobody_typed_into_the_published_pages(name, tmp_path):
    """They are what the command writes from the figures kept beside them."""
    page, kept = (golden.ROOT / "docs" / f"{name}.{ending}" for ending in ("md", "json"))
    if kept.exists():
        shutil.copy(kept, tmp_path)
    for figure in (golden.ROOT / "docs" / "figures").glob("results_*.png"):
        (tmp_path / "figures").mkdir(exist_ok=True)
        (tmp_path / "figures" / figure.name).touch()
    steps = re.findall(r"ablation.py (--steps) (\d+)", page.read_text())
    flags = [
        "--report-only",
        "--workdir",
        str(tmp_path / "none"),
        "--docs",
        str(tmp_path),
        *(steps[0] if steps else ()),
    ]
    assert module(name).main(flags) == 0
    assert (tmp_path / page.name).read_text() == page.read_text()


def test_every_variant_of_the_ablation_is_a_config_that_can_be_trained(tmp_path):
    """And differs from the baseline."""
    override = importlib.import_module("train").override
    seen = set()
    for name, variant in module("ablation").VARIANTS.items():
        config = golden.load_config_file("quick").get_config("learned")
        override(config, [f"--config.{change}" for change in variant.changes])
        configuration.validate(config)
        assert config.to_json() not in seen, name
        seen.add(config.to_json())


def test_the_ablation_trains_first_seeds_first(tmp_path):
    stretches, ablation = module("stretches"), module("ablation")
    experiments = [stretches.Experiment(tmp_path / name, "configs/quick.py", (), (0, 1)) for name in "ab"]
    order = [program.workdir.relative_to(tmp_path).as_posix() for program in ablation.by_seed(experiments)]
    assert order == ["a/seed_0", "b/seed_0", "a/seed_1", "b/seed_1"]


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("results", "", "RUN is missing: choose among clevr6, "),
        ("results", "quack", "RUN quack: choose among clevr6, "),
        ("results", "quick --minutes 0", "--minutes 0.0: must be above 0"),
        ("results", "quick --seeds 3-1", "--seeds 3-1: give how many"),
        ("results", "quick --seeds many", "--seeds many: give how many"),
        ("ablation", "--only nothing", "--only nothing: choose among baseline, "),
        ("ablation", "--steps 0", "--steps 0: must be at least 1"),
    ],
)
def test_flags_that_cannot_work_are_named(name, flags, message):
    with pytest.raises(UserError, match=message):
        module(name).main(flags.split())


def test_seeds_are_counted_or_named():
    read_seeds = module("stretches").read_seeds
    assert read_seeds("3") == (0, 1, 2) and read_seeds("4-6") == (4, 5, 6) and read_seeds("3-3") == (3,)


def test_the_bootstrap_interval_is_the_normal_one_for_many_images():
    values = np.random.default_rng(1).normal(0.7, 0.2, 400)
    low, high = module("genuine").bootstrap(values)
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.1 * error)
    assert module("genuine").bootstrap(values) == (low, high)
    assert module("genuine").with_interval(np.array([0.5, np.nan, 0.5])) == "0.500 (0.500 to 0.500)"


def test_every_run_has_a_tiny_form():
    for entry in module("results").RUNS.values():
        path, _, variants = module("stretches").with_variant(entry.config, "tiny").partition(":")
        config = golden.load_config_file(Path(path).stem).get_config(variants)
        configuration.validate(config)
        assert config.train.num_steps < 10


def test_genuine_scenes_get_every_slot_that_has_a_learned_start():
    learned_slots, get_config = module("genuine").learned_slots, golden.load_config_file("clevr").get_config
    learned, more, gaussian = (
        slotjax.build_model(get_config(variants).model) for variants in ("quick", "quick,clevr10", "tiny")
    )
    assert (learned_slots(learned), learned_slots(more), learned_slots(gaussian)) == (7, 11, None)


@pytest.mark.slow
def test_genuine_scenes_are_scored_with_both_numbers_of_slots(tmp_path, shared_data, capsys):
    config = golden.load_config_file("clevr").get_config("tiny")
    model = slotjax.build_model(config.model)
    params = slotjax.init(model, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    save_weights(tmp_path / "model.npz", config.to_dict(), params)
    sample = tmp_path / "sample.tfrecords"
    shutil.copy(shared_data / "clevr_with_masks_sample.tfrecords", sample)
    module("genuine").main(
        ["--weights", str(tmp_path / "model.npz"), "--sample", str(sample), "--figure", str(tmp_path / "a.png")]
    )
    assert (tmp_path / "a.png").stat().st_size > 5000
    out = capsys.readouterr().out
    assert "| any number | 11 | 64 | " in out and "| at most 6 | 7 | " in out


@pytest.mark.slow
def test_stopped_and_gone_on_with_for_real(tmp_path, monkeypatch, capfd):
    """Training stops in time, saves, and the same command ends it, with its table and the baselines."""
    results = module("results")
    run = tmp_path / "tiny" / "quick" / "seed_0"

    class Early(results.Deadline):
        """Stops the run as soon as it has written something down."""

        passed = property(lambda self: (results.progress(run) or (0,))[0] > 0)

    changes = tuple(f"train.{name}=600" for name in ("num_steps", "eval_every", "checkpoint_every"))
    entry = results.Entry("configs/quick.py", changes)
    monkeypatch.setattr(results, "RUNS", {"quick": entry})
    flags = ["quick", "--tiny", "--seeds", "1", "--workdir", str(tmp_path)]
    with monkeypatch.context() as early:
        early.setattr(results, "Deadline", Early)
        assert results.main(flags) == EXIT_STOPPED
    stopped = results.progress(run)[0]
    assert 0 < stopped < 600 and (run / "checkpoints").exists()
    assert "go on with: python benchmarks/results.py quick --tiny" in capfd.readouterr().out
    assert "| 0 |  |  |  |  | step " in (tmp_path / "tiny" / "results.md").read_text()
    assert results.main(flags) == 0
    assert "continuing after step" in capfd.readouterr().out
    own = section((tmp_path / "tiny" / "results.md").read_text(), "quick")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"| 0 | {last['fg_ari']:.3f} | {last['ari']:.3f} |" in own and "| soft k-means on colour | " in own
