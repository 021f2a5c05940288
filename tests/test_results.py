"""The published results: what is trained, what is read from run directories, and what the tables say."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from benchmark_runs import module, section, written
from helpers import ROOT, config_of

from slotjax.config import check
from slotjax.errors import UserError

pytestmark = pytest.mark.usefixtures("as_commands_do")


@pytest.fixture
def quick(tmp_path):
    """Three of ten seeds: two failed, one of them by its outlines alone, and one on its way."""
    folder = tmp_path / "runs" / "quick"
    written(folder / "seed_0", "quick", 0, [0.2, 0.95], steps=20)
    written(folder / "seed_1", "quick", 1, [0.99, 0.75], steps=20)
    written(folder / "seed_2", "quick", 2, [0.97], steps=20)
    record = {"seconds": 90.0, "device": "1 x Abacus", "versions": "jax 0.0"}
    (folder / "seed_0" / "stretches.json").write_text(json.dumps([record, record]))
    (folder / "beside").mkdir()
    (folder / "beside" / "kmeans.json").write_text(json.dumps({"fg_ari": 0.123, "ari": 0.9, "miou": 0.4}))
    curve = {"0.3": {"fg_ari": 0.9, "ari": 0.8, "miou": 0.7}}
    (folder / "beside" / "sigma.json").write_text(json.dumps(curve))
    return tmp_path


def report(folder: Path) -> str:
    flags = ["--report-only", "--workdir", str(folder / "runs"), "--docs", str(folder / "docs")]
    assert module("results").main(flags) == 0
    return (folder / "docs" / "results.md").read_text()


def test_the_tables_say_what_the_directories_hold(quick):
    text = report(quick)
    assert (
        "| [quick](#quick) | 2 | 3 on 1 x Abacus | 0.850 ± 0.141 | 0.500 ± 0.000 | 0.425 ± 0.071 | 0.650 ± 0.141 |"
        in text
    )
    own = section(text, "quick")
    # 20 steps of a second each, whatever the pause; 180 seconds of commands.
    assert (
        "| 0 | 0.950 | 0.500 | 0.475 | 0.450 | 0.750 | 0.400 | 0.300 | 0.250 | 0.100 | 20 | 0.3 | 3.0 | 1 x Abacus |"
        in own
    )
    assert "| 1 | 0.750 | 0.500 | 0.375 | 0.450 | 0.550 |" in own and "| 20 | 0.3 |  |  |" in own
    assert "| 2 |  |  |  |  |  |  |  |  |  | step 10 of 20 |" in own
    assert own.count("not measured yet") == len(module("results").RUNS["quick"].seeds) - 3
    assert "| k-means on colour | 0.123 | 0.900 | 0.400 |  |  |  |" in own
    assert "| 0.3 | 0.900 | 0.800 | 0.700 |" in own
    assert "On 1 x Abacus, jax 0.0; scored on 320 held-out images" in own
    assert f"train.num_steps: 20 / {config_of('quick').train.num_steps}" in own
    assert " 2 of 2 |" in next(line for line in text.splitlines() if line.startswith("| [quick]"))
    assert "| [clevr6](#clevr6) | not measured yet |" in text and "| 0.988 ± 0.003 |" in text
    assert "trains `configs/tetrominoes.py:small`: not measured yet." in section(text, "tetrominoes")
    assert str(quick) not in text and str(ROOT) not in text


def test_what_another_machine_measured_stays(quick):
    before = report(quick)
    (quick / "runs").rename(quick / "elsewhere")
    assert report(quick) == before
    (quick / "elsewhere").rename(quick / "runs")
    written(quick / "runs" / "quick" / "seed_3", "quick", 3, [0.5, 0.5], steps=20)
    assert "| 3 of 3 |" in report(quick)


def test_seeds_of_the_same_recipe_on_another_machine_stay(quick):
    report(quick)
    (quick / "runs").rename(quick / "elsewhere")
    written(quick / "runs" / "quick" / "seed_3", "quick", 3, [0.5, 0.5], steps=20)
    assert "| 3 of 3 |" in report(quick)
    written(quick / "runs" / "quick" / "seed_3", "quick", 3, [0.5, 0.5, 0.5], steps=30)
    assert "| 1 of 1 |" in report(quick)  # seeds of another recipe tell nothing of this one


def test_a_run_fails_by_any_figure():
    ends = [(0.95, 0.9, 0.8), (0.85, 0.9, 0.8), (0.95, 0.9, 0.3), (0.95, 0.4, 0.8), (0.95, 0.9, None)]
    names = ("posterior_fg_ari", "posterior_ari", "posterior_miou")
    runs = {str(i): {"figures": dict(zip(names, end, strict=True))} for i, end in enumerate(ends)}
    runs["5"] = {"figures": None}  # on its way
    found = {"task": "object_discovery", "runs": runs}
    assert module("measured").failures(found) == "4 of 5"
    assert module("measured").failures({"task": "set_prediction", "runs": {"0": {"figures": {"ap_1": 0.1}}}}) == ""


def test_what_no_command_makes_any_more_goes(quick):
    report(quick)
    path = quick / "docs" / "results.json"
    known = json.loads(path.read_text())
    known["gone"] = known["quick"]
    known["clevr6"] = known["quick"] | {"config": "configs/clevr.py:other"}
    path.write_text(json.dumps(known))
    report(quick)
    assert list(json.loads(path.read_text())) == ["quick"]


def test_the_parts_list_every_row_of_the_scenes_that_were_trained(tmp_path):
    parts = module("parts")
    folder = tmp_path / "runs" / "sprites"
    fields = {"losses": {"mse": 1.0, "chroma": 7.0}}
    for seed, end in enumerate((0.95, 0.91)):
        written(folder / "baseline" / f"seed_{seed}", "quick", seed, [0.1, end], steps=20)
    written(folder / "chroma_7" / "seed_0", "quick", 0, [0.1, 0.6], steps=20, **fields)
    (folder / "chroma_7" / "beside").mkdir()
    (folder / "chroma_7" / "beside" / "cost.json").write_text('{"ms": 7.0, "times": 1.25, "mib": 2.0}')
    flags = ["--report-only", "--workdir", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    assert parts.main(flags) == 0
    text = (tmp_path / "docs" / "parts.md").read_text()
    own = section(text, "sprites")
    assert "| baseline |  | the recipe as it is | 0.930 ± 0.028 | 0.500 ± 0.000 |" in own
    assert "| chroma_7 | `train.losses.chroma=7.0` | errors of colour weigh more" in own
    assert "| 0.600 | 0.500 | 0.300 | 0.400 | 0.400 | 0.300 | 4.500 |  | 1 of 1 | 1.25 | 2.0 |" in own
    assert "| chroma_7 | 0 | 0.600 | 0.500 | 0.300 |" in own
    assert own.count("not measured yet") == len(parts.SCENES["sprites"].rows) - 2
    assert "not measured yet" in section(text, "clevr")


@pytest.mark.parametrize("name", ["results", "parts"])
def test_nobody_typed_into_the_published_pages(name, tmp_path):
    """They are what the command writes from the figures kept beside them."""
    page, kept = (ROOT / "docs" / f"{name}.{ending}" for ending in ("md", "json"))
    shutil.copy(kept, tmp_path)
    assert module(name).main(["--report-only", "--workdir", str(tmp_path / "none"), "--docs", str(tmp_path)]) == 0
    assert (tmp_path / page.name).read_text() == page.read_text()
    assert json.loads((tmp_path / kept.name).read_text()) == json.loads(kept.read_text())


@pytest.mark.parametrize("scenes", ["sprites", "clevr", "textured"])
def test_every_row_of_the_parts_is_a_config_that_can_be_trained(scenes):
    """And differs from all others."""
    parts, seen = module("parts"), set()
    for name in parts.SCENES[scenes].rows:
        config = module("timing").recipe(parts.SCENES[scenes].config, *parts.changes_of(scenes, name))
        check.validate(config)
        assert config.to_json() not in seen, name
        seen.add(config.to_json())


def test_the_parts_train_first_seeds_first(tmp_path):
    of_seeds = module("stretches").of_seeds
    wanted = (("a", (0, 1)), ("b", (0,)))
    programs = [of_seeds(tmp_path / name, "configs/quick.py", (), seeds) for name, seeds in wanted]
    order = [program.workdir.relative_to(tmp_path).as_posix() for program in module("parts").by_seed(programs)]
    assert order == ["a/seed_0", "b/seed_0", "a/seed_1"]


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("results", "", "RUN is missing: choose among quick, "),
        ("results", "quack", "RUN quack: choose among quick, "),
        ("results", "quick --minutes 0", "--minutes 0.0: must be above 0"),
        ("results", "quick --seeds 3-1", "--seeds 3-1: give how many"),
        ("results", "quick --seeds many", "--seeds many: give how many"),
        ("parts", "--only nothing", "--only nothing: choose among baseline, "),
        ("parts", "--scenes none", "--scenes none: choose among sprites, "),
    ],
)
def test_flags_that_cannot_work_are_named(name, flags, message):
    with pytest.raises(UserError, match=message):
        module(name).main(flags.split())


def test_only_the_first_seed_is_drawn(tmp_path, monkeypatch):
    results, drawn = module("results"), []
    monkeypatch.setattr(results, "limits", lambda workdir, picture: drawn.append(workdir.name) or {"first": 1})
    flags = Namespace(workdir=tmp_path, docs=tmp_path)
    for seed, expected in ((1, []), (0, ["seed_0"])):  # whichever was trained first
        written(tmp_path / "video" / f"seed_{seed}", "video:small", seed, [0.9], stages=())
        assert results.beside("video", flags, results.Deadline(None)) and drawn == expected


def test_every_run_has_a_tiny_form():
    for entry in module("results").RUNS.values():
        config = module("timing").recipe(module("stretches").with_variant(entry.config, "tiny"))
        check.validate(config)
        assert config.train.num_steps < 10 and config.data.pool < 10


def test_what_each_kind_of_error_costs():
    """An object in two slots, one in another's, and one in the background's."""
    limits = module("limits")
    truth = np.array([[0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 4, 4]])
    found = np.array([[0, 0, 0, 3, 3, 3, 1, 2, 2, 2, 0, 0]])
    ways = limits.without_errors(truth, found)
    np.testing.assert_array_equal(ways["split"][1], [[0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 0, 0]])
    np.testing.assert_array_equal(ways["shared"][1], [[0, 0, 0, 3, 3, 3, 1, 2, 2, 7, 8, 8]])
    np.testing.assert_array_equal(ways["both"][1], truth)
    own, split, shared, both = (limits.fg_ari(*pair).item() for pair in ways.values())
    assert own < min(split, shared) and max(split, shared) < both == 1
