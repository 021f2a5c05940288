"""What a run tells of itself while it trains: the pace, and what is left."""

import re

from slotjax.system.console import duration
from slotjax.training.progress import RECENT, Progress


def test_durations_for_people():
    assert [duration(s) for s in (5, 150, 599, 600)] == ["5 s", "2.5 min", "10 min", "10 min"]
    assert [duration(s) for s in (4 * 3600, 5 * 86400)] == ["4.0 h", "5 days"]


def test_what_is_left_goes_by_the_recent_pace(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    logger = Progress(0, 1_000)
    logger.start_clock(0)
    for line in range(1, 1 + 2 * RECENT):
        now += 100.0 if line <= RECENT else 10.0  # ten steps a line: a busy machine, then a free one
        logger.show(10 * line, 0.5, 1.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[RECENT - 1].endswith(f"{duration((1_000 - 10 * RECENT) * 10.0)} left")
    assert lines[-1].endswith(f"{duration((1_000 - 20 * RECENT) * 1.0)} left")
    logger.show(1_000, 0.5, 1.0)  # what is written and scored now takes time, but no steps are left
    assert capsys.readouterr().out == "step 1000/1000  loss 0.50000  1.0 images/s\n"


def test_the_bar_tells_loss_speed_time_left_and_the_last_figure(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the stream for a terminal
    monkeypatch.setenv("COLUMNS", "100")
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    bar = Progress(0, 1_000)
    bar.start_clock(0)
    now += 5 * 60.0
    bar.show(500, 0.25, 12.5)
    bar.evaluated("fg_ari 0.9123")
    bar.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert re.search(r"500/1000 \S+ +loss 0.25000  12.5 images/s  5.0 min left fg_ari 0.9123", shown)


def test_a_pool_of_scenes_tells_how_far_it_is(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    plain = Progress(0, 1_000)
    for done in range(10, 201, 10):
        now += 100.0 if done == 10 else 1.0 if done == 20 else 29.0  # a program is compiled; two threads are ready
        plain.rendered(done, 200)
    assert capsys.readouterr().out == "30 of 200 scenes are rendered, 4.2 min left\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    for done, text in ((110, " +110 of 200 scenes rendered  54 s left"), (200, "")):  # then it compiles
        bar = Progress(0, 1_000)
        bar.rendered(10, 200)
        now += 60.0
        bar.rendered(done, 200)
        bar.close()
        shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
        assert re.search(rf"0/1000 \S+{text}$", shown.rstrip())
