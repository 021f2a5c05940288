"""The report while a run goes on, and the time-lapse of its pictures."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from report_pages import check_page, drawn, text, written

from slotjax.config import disk
from slotjax.reporting import history, live, page, single, timelapse
from slotjax.reporting.live import LiveReport


@pytest.fixture
def run(tmp_path):
    """Three evaluations, each with its picture, and one from before the first step."""
    return drawn(written(tmp_path / "run", 0, [0.2, 0.5, 0.9]))


def test_the_page_goes_along_with_the_run(run, monkeypatch):
    opened = []
    monkeypatch.setattr(live, "open_page", opened.append)
    report = LiveReport(run / "report.html", watch=True)
    config = disk.load(run / "config.json")
    rows = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("")
    assert str(run / "report.html") in report.start(config, run, 0)
    report.picture(0, run / "pictures" / "step_0000000.png")
    html = text(run / "report.html")
    check_page(html)
    assert "The run goes on: step 0 of 30" in html and 'id="timelapse"' in html and "location.reload" in html
    for step in (1, 2, 3):
        (run / "metrics.jsonl").write_text("".join(rows[: 2 * step]))
        report.picture(10 * step, run / "pictures" / f"step_00000{step}0.png")
    html = text(run / "report.html")
    check_page(html)
    assert "step 30 of 30" in html and "<strong>Training loss</strong>" in html
    steps = [frame["step"] for frame in json.loads(html.split('id="frames">')[1].split("</script>")[0])]
    assert steps == [0, 10, 20, 30]
    report.close(finished=False)
    stopped = text(run / "report.html")
    assert "location.reload" not in stopped and "refresh" not in stopped
    assert "adds the slot explorer" in stopped
    report.close(finished=True)
    assert not (run / "report.html").exists()  # until the whole report takes its place, which may be interrupted
    assert opened == [run / "report.html"]


def test_how_often_the_page_looks_for_a_newer_one():
    assert [page.renewed(wait).every for wait in (1, 100, 9999)] == [4, 20, 60]
    assert page.renewed(100).until == 1060


def test_without_a_display_nothing_is_opened(monkeypatch, tmp_path, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("webbrowser.open", lambda url: pytest.fail("opened"))
    live.open_page(tmp_path)
    assert "no browser to open here" in capsys.readouterr().out
    monkeypatch.setenv("DISPLAY", ":0")
    urls = []
    monkeypatch.setattr("webbrowser.open", lambda url: urls.append(url) or True)
    live.open_page(tmp_path / "a b.html")
    assert urls == [(tmp_path / "a b.html").as_uri()] and not capsys.readouterr().out


def test_frames_are_those_of_the_run_as_it_is_now(run):
    """Gone back to an older checkpoint, the pictures of what comes again are no frames; nor is what is damaged."""
    kept = text(run / "metrics.jsonl").splitlines(keepends=True)[:4]
    (run / "metrics.jsonl").write_text("".join(kept))
    there = history.read(run)
    assert [frame.step for frame in timelapse.frames(there)] == [0, 10, 20]
    assert timelapse.frames(there)[-1].words.startswith("FG-ARI of the responsibilities 0.750")
    (run / "pictures" / "step_0000010.png").write_bytes(b"\x89PNG")
    assert [frame["step"] for frame in timelapse.embedded(there)] == [0, 20]


def test_many_evaluations_give_few_frames_within_the_budget(tmp_path, monkeypatch):
    run = drawn(written(tmp_path / "run", 0, [0.5] * 60))
    steps = [frame.step for frame in timelapse.frames(history.read(run))]
    assert len(steps) == timelapse.MOST and (steps[0], steps[-1]) == (0, 600)
    gaps = np.diff(steps)
    assert gaps.max() - gaps.min() <= 10
    whole = timelapse.embedded(history.read(run))
    budget = sum(len(frame["uri"]) for frame in whole) // 3
    monkeypatch.setattr(timelapse, "BUDGET", budget)
    fewer = timelapse.embedded(history.read(run))
    assert sum(len(frame["uri"]) for frame in fewer) <= budget
    assert 2 <= len(fewer) < len(whole) and fewer[-1]["step"] == 600


def test_of_frames_too_large_for_the_budget_the_last_is_kept(run, monkeypatch):
    monkeypatch.setattr(timelapse, "BUDGET", 1)
    assert [frame["step"] for frame in timelapse.embedded(history.read(run))] == [30]


def test_a_frame_is_read_once_and_anew_when_it_has_changed(run, monkeypatch):
    read = []
    original = timelapse.read_sheet
    monkeypatch.setattr(timelapse, "read_sheet", lambda path, width: read.append(path.name) or original(path, width))
    for _ in range(2):
        timelapse.embedded(history.read(run))
    assert len(read) == 4
    path = run / "pictures" / "step_0000020.png"
    os.utime(path, ns=(1, 1))
    timelapse.embedded(history.read(run))
    assert read[4:] == [path.name]


def test_the_animation_shows_every_frame_and_waits_at_the_last(run):
    assert timelapse.animate(history.read(run), run / "timelapse.webp")
    with Image.open(run / "timelapse.webp") as animation:
        assert (animation.n_frames, animation.info["loop"]) == (4, 0)
        times, colours = [], []
        for i in range(4):
            animation.seek(i)
            animation.load()
            times.append(animation.info["duration"])
            colours.append(np.asarray(animation.convert("RGB")).mean())
    assert times == [timelapse.MILLISECONDS] * 3 + [timelapse.LAST_MILLISECONDS]
    assert np.all(np.diff(colours) > 5)  # one after another
    for path in (run / "pictures").glob("step_00000[123]0.png"):
        path.unlink()
    assert not timelapse.animate(history.read(run), run / "none.webp") and not (run / "none.webp").exists()


def test_a_run_without_pictures_has_no_time_lapse(tmp_path):
    run = written(tmp_path / "run", 0, [0.5])
    html, _ = single.build(history.read(run), brief=True)
    check_page(html)
    assert "timelapse-title" not in html
