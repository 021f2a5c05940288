"""The report: what it shows of a run, and what it says is missing."""

import importlib
import json
import re
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import untrained
from ml_collections import ConfigDict
from PIL import Image
from report_pages import check_page, decode, text, tiny

from slotjax.config import disk
from slotjax.errors import UserError
from slotjax.models import Output
from slotjax.report import default_output, report, report_after_training
from slotjax.reporting import curves, examples, explorer, images, scoring, titles
from slotjax.tasks import discovery


def copy(workdir: Path, folder: Path, *without: str) -> Path:
    shutil.copytree(workdir, folder, ignore=shutil.ignore_patterns("report.html", *without))
    return folder


def embedded(html: str) -> dict:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="pictures">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def test_page_is_whole_and_needs_no_network(reported):
    html = text(reported / "report.html")
    page = check_page(html)
    assert not [name for name in page.ids if page.ids.count(name) > 1 and not name.startswith(("m", "p", "h", "D"))]
    assert "$" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    for shown in ("Training loss", "MSE", "Images per second"):
        assert f"<strong>{shown}</strong>" in html
    for shown in ("k-means on colour", "train.learning_rate", "Best FG-ARI of", "Worst FG-ARI of"):
        assert shown in html
    assert html.count('role="img" aria-label="') >= 10  # every drawing in words


def test_explorer_holds_what_the_model_saw(reported):
    data = embedded(text(reported / "report.html"))
    settings, examples = data["settings"], data["examples"]
    assert (settings["slots"], settings["iterations"], settings["size"]) == (5, 2, [32, 32])
    assert len({example["index"] for example in examples}) == len(examples) == 6  # of eight images, two in each group
    rows, columns = settings["grid"]
    for example in examples:
        attention = decode(example["attention"]).reshape(2, rows, 5, columns, -1)[..., 0]
        assert np.abs(attention.astype(int).sum(2) - 255).max() <= 5  # slots compete for each pixel
        weights = decode(example["weights"]).reshape(32, 5, 32, -1)[..., 0].transpose(1, 0, 2)
        assert np.abs(weights.astype(int).sum(0) - 255).max() <= 5  # responsibilities share each pixel
        owner = decode(example["owner"])
        owner = owner if owner.ndim == 2 else owner[..., 0]
        winners = np.take_along_axis(weights, owner[None].astype(np.int64), 0)[0]
        assert np.all(winners.astype(int) >= weights.max(0).astype(int) - 1)
        shown = {tuple(colour) for colour in decode(example["masks"]).reshape(-1, 3).tolist()}
        assert shown <= set(map(tuple, example["colours"]))  # the masks' segments, in the slots' colours
        assert len(example["claims"]) == 5


def test_all_methods_are_scored_on_the_same_images(reported, scored):
    scores, html = scored["scores"], text(reported / "report.html")
    assert [name for name in scores.images if name != "soft_kmeans"] == ["slots", "kmeans"]
    assert {len(figures["ari"]) for figures in scores.images.values()} == {8}
    measures = ("fg_ari", "ari", "miou", "mbo")
    assert scores.shown == [*(f"posterior_{name}" for name in measures), *measures, "mse", "slots_used"]
    for method, means in scores.means.items():
        assert f">{titles.shown(means['fg_ari'], 4)}</td>" in html, method


def test_masks_and_responsibilities_keep_their_names(reported, scored):
    """Each figure under its own title, in the tiles, the table, the histograms and the curves."""
    html, means = text(reported / "report.html"), scored["scores"].means["slots"]
    for name, shown in (("fg_ari", "FG-ARI of the masks"), ("posterior_fg_ari", "FG-ARI of the responsibilities")):
        assert f"<dt>{shown}</dt><dd>{titles.shown(means[name])}</dd>" in html
        assert f'<td data-title="{shown}">{titles.shown(means[name], 4)}</td>' in html
        assert html.count(f"<strong>{shown}</strong>") == 2
    example = embedded(html)["examples"][0]
    titled = [discovery.TITLES[name] for name in discovery.HEADLINES]
    assert [figure.rpartition(" ")[0] for figure in example["figures"]] == titled


def test_without_checkpoint_or_metrics(reported, tmp_path, capsys):
    no_checkpoint = copy(reported, tmp_path / "a", "checkpoints", "best")
    html = text(report([no_checkpoint]))
    check_page(html)
    assert "no checkpoint yet" in html and "Training loss" in html and "explorer-title" not in html
    assert "no checkpoint yet" in capsys.readouterr().out

    neither = copy(no_checkpoint, tmp_path / "b", "metrics.jsonl")
    with pytest.raises(UserError, match="neither metrics nor a checkpoint"):
        report([neither])
    assert not (neither / "report.html").exists()


def test_images_without_masks_and_no_metrics(reported, tmp_path, capsys):
    """The same model on a folder of pictures: MSE ranks them, and the page says so."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(5):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8)).save(folder / f"{i}.png")
    plain = copy(reported, tmp_path / "plain", "metrics.jsonl")
    config = tiny()
    config.data.update(name="folder", path=str(folder), eval_images=4)
    config.data.options = ConfigDict()
    disk.save(config, plain / "config.json")
    html = text(report([plain]))
    check_page(html)
    said = capsys.readouterr().out
    for note in ("no masks: no FG-ARI, ARI or mIoU", "No metrics.jsonl: no curves"):
        assert note in html and note in said
    assert "Best MSE" in html and "lower is better" in html and "k-means" not in html
    assert "truth" not in embedded(html)["examples"][0]

    shutil.rmtree(folder)
    html = text(report([plain]))  # the pictures are gone
    assert "does not exist" in html and "explorer-title" not in html


def test_half_written_line_and_hostile_names(reported, tmp_path):
    odd = copy(reported, tmp_path / "<b>$x_1$&", "checkpoints", "best")
    with (odd / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "loss": NaN}\n{"step": 8, "lo')
    config = json.loads(text(odd / "config.json"))
    config["data"] |= {"name": "folder", "options": {}, "path": "</script><script>alert(1)</script>"}
    (odd / "config.json").write_text(json.dumps(config))
    html = text(report([odd]))
    check_page(html)
    assert "1 line of metrics.jsonl could not be read" in html
    assert "The loss was not finite at 1 logged step" in html
    assert "<b>$x" not in html and "alert(1)</script>" not in html and "alert(1)" in html


def test_mistakes_are_one_line(reported, tmp_path):
    broken = copy(reported, tmp_path / "broken", "checkpoints")
    (broken / "metrics.jsonl").write_bytes(b"\xff\xfe\x00")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"a": 1}')
    cases = {
        "no such directory": [tmp_path / "none"],
        "given twice": [reported, reported / ".." / reported.name],
        "cannot be read": [broken],
        "not the config of a run": [foreign],
        "no such file; is ": [tmp_path],
    }
    for message, workdirs in cases.items():
        with pytest.raises(UserError, match=message) as error:
            report(workdirs)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="is a directory"):
        report([reported], tmp_path)


def test_a_failing_report_does_not_fail_the_run(tmp_path, capsys):
    report_after_training(tmp_path / "none")
    said = capsys.readouterr().out
    assert "the report was not written" in said and "python -m slotjax.report --workdir" in said


# Pieces.


def test_best_median_and_worst():
    values = np.array([0.3, np.nan, 0.9, 0.1, 0.5, 0.7, 0.2, 0.8, 0.4, 0.6])
    assert examples.pick(values, True, 3) == {"best": [2, 7, 5], "median": [9, 4, 8], "worst": [0, 6, 3]}
    assert examples.pick(values, False, 1) == {"best": [3], "median": [4], "worst": [2]}
    assert examples.pick(np.array([0.5]), True, 3) == {"best": [0]}
    assert examples.pick(np.array([0.5, 0.6]), True, 3) == {"best": [1], "worst": [0]}
    assert examples.pick(np.array([np.nan]), True, 3) == {}


@pytest.mark.parametrize(("side", "num_slots", "num_iterations"), [(128, 7, 3), (200, 16, 4)])
def test_large_pictures_stay_within_the_budget(monkeypatch, side, num_slots, num_iterations):
    """Noise does not compress: the worst case."""
    monkeypatch.setattr(images, "QUALITY", 30)  # faster; the budget is lowered alike
    monkeypatch.setattr(explorer, "BUDGET", 600_000)
    random = np.random.default_rng(0)
    grid = (side // 4, side // 4)
    count = 9
    masks = random.dirichlet(np.ones(num_slots), (1, side, side)).astype(np.float32).transpose(0, 3, 1, 2)
    attention = random.dirichlet(np.ones(num_slots), (1, num_iterations, grid[0] * grid[1])).transpose(0, 1, 3, 2)
    components = random.uniform(-1, 1, (1, num_slots, side, side, 3)).astype(np.float32)
    one = Output(
        masks=masks, components=components, reconstruction=components[:, 0], attention_history=attention.astype("f")
    )
    out = Output(**{k: None if v is None else np.broadcast_to(v, (count, *v.shape[1:])) for k, v in vars(one).items()})
    batch = {"image": np.broadcast_to(components[0, 0], (count, side, side, 3))}
    scores = scoring.Scores({"slots": {"mse": np.arange(count) / count}}, {"slots": {"mse": 0.5}}, ["mse"])
    indices = np.array([index for _, index in examples.choose(scores)])
    views = explorer.look(indices, batch, out, grid)
    built = explorer.fit(scores, partial(explorer.build, SimpleNamespace(task=discovery), scores, views))
    assert built.size <= explorer.BUDGET
    assert built.settings["size"][0] <= 128
    assert (built.examples[0]["group"], built.examples[0]["index"]) == ("best", 0)


def test_a_task_with_other_figures():
    figures = {"ap_inf": np.array([0.1, 0.4]), "ap_1": np.array([np.nan, np.nan]), "num_objects": np.array([1.0, 2.0])}
    task = SimpleNamespace(TITLES={"ap_inf": "AP"}, summary=lambda figures: {"ap_inf": 0.25})
    scores = scoring.gathered({"slots": figures}, task)
    assert scores.shown == ["ap_inf"]
    assert examples.choose(scores, 1) == [("best", 1), ("worst", 0)]
    assert titles.title("ap_inf", task) == "AP" and titles.title("ap_1", task) == "ap 1"


def test_soft_kmeans_is_left_out_where_it_says_what_kmeans_does():
    task = SimpleNamespace(TITLES={"ari": "ARI"}, summary=lambda figures: {"ari": figures["ari"].mean(), "mse": None})
    images = {"slots": 0.9, "kmeans": 0.5, "soft_kmeans": 0.5004}
    images = {name: {"ari": np.array([value])} for name, value in images.items()}
    assert list(scoring.gathered(images, task).means) == ["slots", "kmeans"]
    images["soft_kmeans"]["ari"] += 0.001
    assert list(scoring.gathered(images, task).images) == ["slots", "kmeans", "soft_kmeans"]


@pytest.mark.parametrize("values", [(0.6, 0.05, 0.011), (3e-5, 2e-6), (900.0, 7.0)])
def test_logarithmic_axes_have_numbers(values):
    """Not TeX such as $\\mathdefault{6\\times10^{-1}}$."""
    svg = curves.draw_chart(curves.Chart("loss", [curves.Line(list(enumerate(values)))]))
    labels = [float(label) for label in re.findall(r"<text[^>]*>([^<]*)</text>", svg) if label != "step"]
    assert "$" not in svg
    assert sum(min(values) / 2 < label < max(values) * 2 for label in labels) >= 2


def test_regions_in_words():
    truth = np.zeros((10, 10), int)
    truth[:5, :4] = 1
    assert explorer.describe(truth == 1, truth) == "wins 20% of the pixels; nearest to object 1 (IoU 1.00)"
    assert explorer.describe(truth == 0, truth).endswith("nearest to the background (IoU 1.00)")
    for unknown in (None, np.full_like(truth, -1)):
        assert explorer.describe(truth == 0, unknown) == "wins 80% of the pixels"
    assert explorer.describe(truth > 1, truth) == "wins no pixel"


def test_figures_for_people():
    values = {0.9431: "0.943", -0.25: "-0.250", 0: "0.000", 3.2e-5: "3e-05", 12.345: "12.3", 1240.4: "1240"}
    assert {value: titles.shown(value) for value in values} == values
    assert {titles.shown(value) for value in (None, float("nan"), "x", True)} == {"–"}


def test_default_output():
    assert default_output([Path("runs/a")]) == Path("runs/a/report.html")
    assert default_output([Path("runs/a"), Path("runs/b")]) == Path("runs/comparison.html")
    assert default_output([Path("runs/a"), Path("other/b")]) == Path("comparison.html")


@pytest.mark.slow
def test_a_report_of_set_prediction_draws_what_is_predicted(tmp_path):
    config = importlib.import_module("configs.clevr_set").get_config("tiny")
    config.data.options.max_objects = 3
    html = text(report([untrained(config, tmp_path / "set")]))
    check_page(html)
    shown = json.loads(re.search(r'<script type="application/json" id="pictures">(.*?)</script>', html, re.S)[1])
    for example in shown["examples"]:
        true, predicted = (decode(example[name]) for name in ("truth", "predicted"))
        assert true.shape == predicted.shape == (256, 256, 3)
        assert (true != predicted).any()
    assert 'id="predicted"' in html
