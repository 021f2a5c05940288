"""The published results: what is trained, what is read from run directories, and what the tables say."""

import importlib
import json
import re
import shutil
from pathlib import Path

import golden
import pytest
from benchmark_runs import module, section, written

from slotjax import configuration
from slotjax.errors import UserError

pytestmark = pytest.mark.usefixtures("as_commands_do")


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
        config = config_of("quick:learned")
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


def test_every_run_has_a_tiny_form():
    for entry in module("results").RUNS.values():
        path, _, variants = module("stretches").with_variant(entry.config, "tiny").partition(":")
        config = golden.load_config_file(Path(path).stem).get_config(variants)
        configuration.validate(config)
        assert config.train.num_steps < 10 and config.data.pool < 10
