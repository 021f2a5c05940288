"""Training in stretches of machine time: it stops at the deadline, saves, and goes on."""

import json
import signal
import time

import pytest
from benchmark_runs import module, section, written

from slotjax.errors import EXIT_STOPPED

pytestmark = pytest.mark.usefixtures("as_commands_do")

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
    monkeypatch.setattr(stretches.Program, "command", property(lambda self: [str(script), str(self.workdir)]))
    return stretches.Program(run, "configs/quick.py")


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
    broken = stretches.Program(program.workdir.parent / "broken", "configs/quick.py")  # has no folder to write to
    wrong = stretches.train([broken, program], stretches.Deadline(None))
    assert program.finished
    assert len(wrong) == 1 and "broken: train.py ended with code 1" in wrong[0]


def test_seeds_are_counted_or_named():
    read_seeds = module("stretches").read_seeds
    assert read_seeds("3") == (0, 1, 2) and read_seeds("4-6") == (4, 5, 6) and read_seeds("3-3") == (3,)


def test_each_seed_has_a_command_of_its_own(tmp_path):
    first, second = module("stretches").of_seeds(tmp_path / "x", "configs/quick.py", ("train.num_steps=7",), (3, 4))
    assert first.workdir == tmp_path / "x" / "seed_3"
    fields = ["--config.train.num_steps=7", "--config.seed=4"]
    assert second.command == [
        "train.py", "--config", "configs/quick.py", *fields, "--workdir", str(tmp_path / "x" / "seed_4"),
    ]  # fmt: skip


def test_finished_means_scored_after_the_last_step(tmp_path):
    stretches = module("stretches")
    run = written(tmp_path / "run", "quick", 0, [0.5, 0.5], steps=20)
    program = stretches.Program(run, "configs/quick.py")
    assert program.finished and stretches.progress(run) == (20, 20)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert not program.finished and stretches.progress(run) == (20, 20)
    assert stretches.progress(tmp_path) is None


@pytest.mark.slow
def test_stopped_and_gone_on_with_for_real(tmp_path, monkeypatch, capfd):
    """Training stops in time, saves, and the same command ends it, with its table and the baselines."""
    results, stretches = module("results"), module("stretches")
    run = tmp_path / "tiny" / "quick" / "seed_0"

    class Early(results.Deadline):
        """Stops the run as soon as it has written something down."""

        passed = property(lambda self: (stretches.progress(run) or (0,))[0] > 0)

    changes = tuple(f"train.{name}=600" for name in ("num_steps", "eval_every", "checkpoint_every"))
    of_seeds = stretches.of_seeds
    monkeypatch.setattr(results, "of_seeds", lambda folder, config, _, seeds: of_seeds(folder, config, changes, seeds))
    flags = ["quick", "--tiny", "--seeds", "1", "--workdir", str(tmp_path)]
    with monkeypatch.context() as early:
        early.setattr(results, "Deadline", Early)
        assert results.main(flags) == EXIT_STOPPED
    stopped = stretches.progress(run)[0]
    assert 0 < stopped < 600 and (run / "checkpoints").exists()
    assert "go on with: python benchmarks/results.py quick --tiny" in capfd.readouterr().out
    assert "| step " in section((tmp_path / "tiny" / "results.md").read_text(), "quick")
    assert results.main(flags) == 0
    assert "continuing after step" in capfd.readouterr().out
    own = section((tmp_path / "tiny" / "results.md").read_text(), "quick")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"| 0 | {last['posterior_fg_ari']:.3f} | {last['posterior_ari']:.3f} |" in own
    assert "| soft k-means on colour | " in own and "over sigma" in own and "600 / 6" in own
