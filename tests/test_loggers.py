"""`--log wandb` and `--log mlflow`, offline and for real: what a run tells them, and that it goes on as the same."""

import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from slotjax import train as training
from slotjax.errors import UserError
from slotjax.training.loggers import LOGGERS, base
from slotjax.training.metrics_log import read_metrics


def test_what_is_not_installed_is_named_before_anything_runs(run, monkeypatch, tmp_path):
    for name in LOGGERS:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=rf'{name} is not installed; pip install "slotjax\[{name}\]" brings it'):
            run(training, "--config", "quick:tiny", "--workdir", tmp_path / "run", "--log", name)
    with pytest.raises(UserError, match="--log: invalid choice: 'x'"):
        run(training, "--config", "quick:tiny", "--log", "x")
    assert not (tmp_path / "run").exists()


def test_a_logger_that_cannot_begin_says_what_to_do(tmp_path):
    class Away:
        name = "away"

        def start(self, config, workdir, step):
            raise UserError("--log away: not logged in")

    with pytest.raises(UserError, match="not logged in"):
        base.Loggers([Away()], print).start(None, tmp_path, 0)


def test_ids_are_kept_beside_each_other(tmp_path):
    assert base.kept_id(tmp_path, "wandb") is None
    base.keep_id(tmp_path, "wandb", "a")
    base.keep_id(tmp_path, "mlflow", "b")
    assert (base.kept_id(tmp_path, "wandb"), base.kept_id(tmp_path, "mlflow")) == ("a", "b")
    (tmp_path / base.FILE).write_text('{"wandb": 3')
    assert base.kept_id(tmp_path, "wandb") is None


def test_only_numbers_are_figures():
    assert base.numbers({"loss": 1, "mse": None, "time": 3.0, "name": "x"}) == {"loss": 1.0}


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A run that told both, was killed in its midst, and then went on to its end."""
    pytest.importorskip("wandb", reason="wandb is not installed: pip install slotjax[wandb]")
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install slotjax[mlflow]")
    folder = tmp_path_factory.mktemp("logged")
    command = [sys.executable, "train.py", "--config", "quick:tiny", "--workdir", folder / "run"]
    command += [f"--config.train.{name}=2" for name in ("log_every", "eval_every", "checkpoint_every")]
    command += ["--log", "wandb", "--log", "mlflow"]
    variables = {"WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    options = {"cwd": ROOT, "env": {**os.environ, **variables, "PYTHONUNBUFFERED": "1"}, "text": True}
    with open(folder / "err", "w") as errors:
        first = [*map(str, command), "--config.train.num_steps=1000"]
        process = subprocess.Popen(first, stdout=subprocess.PIPE, stderr=errors, **options)
        for line in process.stdout:
            if line.startswith("step 20/"):
                process.send_signal(signal.SIGKILL)
        process.wait(60)
        process.stdout.close()
    assert (folder / "err").read_text() == ""
    steps = max(int(path.name) for path in (folder / "run" / "checkpoints").iterdir() if path.name.isdigit())
    last = [*map(str, command), f"--config.train.num_steps={steps + 2}"]
    done = subprocess.run(last, capture_output=True, **options)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "is not told" not in done.stdout
    return folder


def expected(folder: Path) -> tuple[list[dict], list[dict]]:
    """The rows of training and of evaluations, as the run has written them down itself."""
    rows = read_metrics(folder / "run" / "metrics.jsonl")
    return [row for row in rows if "loss" in row], [row for row in rows if "num_images" in row]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what MLflow stands on
def test_mlflow_has_one_run_with_all_of_it(killed):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{killed}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'slotjax'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["model.num_slots"] == "5" and run.data.params["data.name"] == '"sprites"'
    training, evaluations = expected(killed)
    losses = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "loss")}
    assert losses == {**losses, **{row["step"]: row["loss"] for row in training}}
    scored = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "fg_ari")}
    assert scored == {**scored, **{row["step"]: row["fg_ari"] for row in evaluations}}
    pictures = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "pictures")}
    assert {f"step_{row['step']:07d}.png" for row in evaluations} | {"step_0000000.png"} <= pictures
    best = Path(run.data.tags["best_checkpoint"].removeprefix("file://"))
    assert best.parent == (killed / "run" / "best").absolute() and best.is_dir()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_has_one_run_with_all_of_it(killed):
    files = sorted((killed / "run" / "wandb").glob("offline-run-*/*.wandb"))
    records = [records_of(path) for path in files]
    assert len(files) == 2 and all(records)
    names = {record.run.run_id for some in records for record in some if record.WhichOneof("record_type") == "run"}
    assert names == {json.loads((killed / "run" / "loggers.json").read_text())["wandb"]}  # which the service joins
    every = [record for some in records for record in some]
    rows = [{item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for record in every if record.WhichOneof("record_type") == "history"]  # fmt: skip
    assert 0 in {row["step"] for row in rows}  # what came in the seconds before a kill may be lost there
    training, evaluations = expected(killed)
    last = evaluations[-1]["step"]
    for name, own in (("loss", training), ("fg_ari", evaluations)):
        assert [row[name] for row in rows if row["step"] == last and name in row] == [own[-1][name]]
    assert {0, last} <= {row["step"] for row in rows if "pictures" in row}
    config = {field.key: json.loads(field.value_json) for record in every for field in record.run.config.update}
    assert config["model"]["num_slots"] == 5
    artifacts = [record.request.log_artifact.artifact for record in every] + [record.artifact for record in every]
    references = {entry.ref for artifact in artifacts for entry in artifact.manifest.contents}
    assert any(ref.startswith((killed / "run" / "best").absolute().as_uri()) for ref in references)


def records_of(path: Path) -> list:
    """What an offline run has written down: a log in LevelDB's format, of protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    content, at, whole, found = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # no header fits into the rest of a block
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last piece
            found.append(wandb_internal_pb2.Record.FromString(whole))
            whole = b""
    return found
