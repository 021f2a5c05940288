"""The house of slotjax: no circles, arrows that point one way, and a top level of what a user runs or calls."""

from pathlib import Path

import pytest
from benchmark_runs import module
from helpers import ROOT

pytestmark = pytest.mark.usefixtures("as_commands_do")

ORDER = (  # a room, or a file at the top level, imports those before it
    "errors", "system", "cli", "nn", "data", "metrics", "models", "losses", "clustering", "convert", "api", "drawing",
    "weights", "tasks", "config", "training", "reporting", "export", "demo", "evaluate", "segment", "pack", "report",
    "train", "__init__",
)  # fmt: skip


@pytest.fixture(scope="module")
def arrows():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return module("house").imports(ROOT / "slotjax")


def test_no_modules_import_each_other(arrows):
    assert len(arrows) > 50 and module("house").circles(arrows) == []


def test_rooms_import_those_before_them(arrows):
    rooms = module("house").between_rooms(arrows)
    assert rooms.keys() <= set(ORDER), "a new room: give it its place in ORDER"
    place = {room: i for i, room in enumerate(ORDER)}
    assert [(room, other) for room, found in rooms.items() for other in found if place[other] >= place[room]] == []


def test_the_top_level_is_a_dozen_files_at_most():
    assert len(list((ROOT / "slotjax").glob("*.py"))) <= 12


def package(folder: Path, **files: str) -> Path:
    """A package `p` of these files, by their names with a double underscore for a slash."""
    for name, text in {"__init__": "", **files}.items():
        path = folder / "p" / f"{name if name == '__init__' else name.replace('__', '/', 1)}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "p"


@pytest.mark.parametrize(
    "back",
    [
        "import p.a.x",
        "from p.a import x",
        "from p.a.x import anything",
        "from ..a import x",
        "def later():\n    from p.a import x",
        "def later():\n    if True:\n        from ..a.x import y",
        "import importlib\nKINDS = {'x': 'p.a.x:argument'}",
        "from importlib import import_module\ndef later(home='a.x'):\n    import_module(f'p.{home}')",
    ],
)
def test_a_circle_is_found_however_it_is_written(tmp_path, back):
    house = module("house")
    arrows = house.imports(package(tmp_path, a__x="from p.b import y", b__y=back, b__z="from p.b import y"))
    assert house.circles(arrows) == [["p.a.x", "p.b.y"]]
    assert house.circles(house.between_rooms(arrows)) == [["a", "b"]]
    assert house.between_rooms(arrows) == {"__init__": {}, "a": {"b": 1}, "b": {"a": 1}}


@pytest.mark.parametrize(
    "harmless",
    [
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from p.a import x",
        "import typing\nif typing.TYPE_CHECKING:\n    from p.a import x",
        "NAME = 'p.a.x'",
        "import importlib\nNAME = 'a.x'",
        "import os, p_a_x",
        "from p.b import z",
    ],
)
def test_what_imports_nothing_back_is_no_circle(tmp_path, harmless):
    house = module("house")
    arrows = house.imports(package(tmp_path, a__x="from p.b import y", b__y=harmless, b__z=""))
    assert house.circles(arrows) == []


def test_a_longer_circle_and_one_through_the_package_are_found(tmp_path):
    house = module("house")
    chain = package(tmp_path, __init__="from p import a", a="from . import b", b="import p.c", c="from p import name")
    assert house.circles(house.imports(chain)) == [["p", "p.a", "p.b", "p.c"]]


def test_the_shape_is_printed(capsys, tmp_path):
    package(tmp_path, a__x="from p.b import y\n", b__y="\n\n")
    (tmp_path / "p").rename(tmp_path / "slotjax")
    (tmp_path / "slotjax" / "a" / "x.py").write_text("from slotjax.b import y\n")
    module("house").main(["--folder", str(tmp_path)])
    out = capsys.readouterr().out
    assert "| b | 1 | 2 |" in out and "| a | b 1 |" in out and "circles of modules: none" in out
