"""`python -m slotjax.evaluate`: what it says, and where it keeps it."""

import contextlib
import io
import json
import re
import shutil
import sys

import pytest
from helpers import command, config_of, picture_size

from slotjax import evaluate, weights
from slotjax.errors import UserError
from slotjax.reporting import evaluation


@pytest.fixture(scope="module")
def evaluated(tiny_run) -> tuple[str, str]:
    """What the run's own evaluation says, and what it writes."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr(sys, "argv", ["evaluate", "--workdir", str(tiny_run)])
        evaluate.main()
    return said.getvalue(), (tiny_run / "evaluation.json").read_text()


def test_a_runs_own_evaluation_says_how_it_was_made(tiny_run, evaluated):
    said, evaluation = evaluated[0], json.loads(evaluated[1])
    assert evaluation | {"num_images": 8, "method": "slots", "num_slots": 5, "num_iterations": 2} == evaluation
    assert evaluation["step"] in (3, 6)  # the better one
    assert evaluation["data"] == json.loads((tiny_run / "config.json").read_text())["data"]
    for name, title in (("fg_ari", "masks"), ("posterior_fg_ari", "responsibilities")):
        assert re.search(rf"FG-ARI of the {title} +{evaluation[name]:.4f}$", said, re.M)
        shown = f'<td data-title="FG-ARI of the {title}">{evaluation[name]:.4f}</td>'
        assert shown in (tiny_run / "report.html").read_text("utf-8")
    assert f"next: python -m slotjax.segment --workdir '{tiny_run}' IMAGE..." in said


def test_other_evaluations_are_kept_beside_it(tiny_run, evaluated, photos, run):
    of_folder = ("--data", "folder", "--data-path", photos, "--images", 2, "--num-iterations", 1)
    variants = {
        "num_slots_3-images_4": ("--num-slots", 3, "--images", 4),
        "num_iterations_1-images_2-data_folder-*": of_folder,
    }
    variants["method_kmeans-position_weight_1.5"] = ("--method", "kmeans", "--position-weight", 1.5)
    for name, flags in variants.items():
        said = run(evaluate, "--workdir", tiny_run, *flags)
        (path,) = (tiny_run / "evaluations").glob(f"{name}.json")
        assert f"wrote {path}" in said and "next:" not in said
        figures = json.loads(path.read_text())
        assert re.search(r"MSE +-?$" if figures["mse"] is None else rf"MSE +{figures['mse']:.4f}$", said, re.M)
        if name.startswith("num_iterations"):
            assert figures["data"]["path"] == str(photos) and figures["num_iterations"] == 1
    assert figures | {"num_clusters": 5, "position_weight": 1.5, "method": "kmeans"} == figures
    assert (tiny_run / "evaluation.json").read_text() == evaluated[1]


def test_what_is_as_in_training_is_no_variant(tiny_run):
    subject = evaluation.open_subject(tiny_run, None)
    assert evaluation.changed(subject, {"num_slots": 5, "images": 8, "data": "sprites", "method": "slots"}).own
    assert not evaluation.changed(subject, {"num_slots": 5, "brief": True}).own
    assert evaluation.changed(subject, {"num_slots": 4}).changes == {"num_slots": 4}


def test_what_was_trained_on_is_not_held_out(tmp_path, photos):
    for i in range(20):
        shutil.copy(next(photos.glob("*.png")), tmp_path / f"{i}.png")
    config = config_of("folder:small,tiny")
    config.data.update(path=str(tmp_path), eval_images=3)
    subject = evaluation.Subject("a run", config, None)
    for fine in (1, 3):
        assert evaluation.changed(subject, {"images": fine}).config.data.eval_images == fine
    with pytest.raises(UserError, match="--images 5: 2 of these were trained on"):
        evaluation.changed(subject, {"images": 5})


def test_other_data_are_taken_as_they_are():
    config = config_of("features:tiny")
    config.data.augment = "flip"
    changed = evaluation.changed(evaluation.Subject("a run", config, None), {"data": "sprites"})
    assert changed.config.data.augment == "none"


def test_weights_are_evaluated_as_they_were(run):
    kept = weights.read(weights.find("quick"))[0]["evaluation"]
    said = run(evaluate, "--weights", "quick", "--images", 4)
    assert "4 held-out images of sprites" in said and "name a file as --output" in said
    found = float(re.search(r"FG-ARI of the masks +([\d.]+)", said)[1])
    assert abs(found - kept["fg_ari"]) < 0.2  # four images of the hundreds


@pytest.mark.slow
def test_set_prediction_from_training_to_evaluation(tmp_path, data_dir):
    folder = tmp_path / "set"
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    source = data_dir / "clevr_with_masks.tfrecords"
    arguments = ["--config", "configs/clevr_set.py:masks,tiny", f"--config.data.path={source}", "--workdir", folder]
    arguments += ["--config.data.eval_images=1", "--config.train.batch_size=2"]
    result = command("train.py", *arguments, **cache)
    assert result.returncode == 0, result.stderr
    assert "held-out: ap_inf" in result.stdout and "slotjax.segment" not in result.stdout
    assert picture_size(folder / "pictures" / "step_0000006.png")[0] == 3 * (256 + 6) + 2 * 4
    result = command("-m", "slotjax.evaluate", "--workdir", folder, **cache)
    assert result.returncode == 0, result.stderr
    for said in ("AP@0.125", "paper, CLEVR10", "94.3", "8 objects", "7 iterations"):
        assert said in result.stdout
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert 0 <= evaluation["ap_1"] <= 1 and evaluation["num_images"] == 1 and len(evaluation["studies"]) == 10
    for module, *rest in (("slotjax.evaluate", "--method", "kmeans"), ("slotjax.segment", source)):
        refused = command("-m", module, "--workdir", folder, *rest)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr
