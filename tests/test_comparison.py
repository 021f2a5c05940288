"""The comparison of several runs, written by hand, since it reads nothing but what runs wrote down."""

import numpy as np
from report_pages import check_page, text, written

from slotjax.report import report
from slotjax.reporting import history, settings


def test_comparison_of_seeds(tmp_path, capsys):
    ends = [0.95, 0.93, 0.6]
    runs = [written(tmp_path / "runs" / f"seed_{i}", i, [0.1, end]) for i, end in enumerate(ends)]
    with (runs[2] / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3')
    path = report(runs)
    assert path == tmp_path / "runs" / "comparison.html"
    html = text(path)
    check_page(html)
    assert "1 of 3" in html and "FG-ARI of the responsibilities below 0.9" in html
    assert f"{np.mean(ends):.3f} ± {np.std(ends, ddof=1):.3f}" in html
    assert "<small>0.930</small><small>0.600 to 0.950</small>" in html
    assert "seed_2: 1 line of metrics.jsonl" in html and "seed_2: 1 line" in capsys.readouterr().out
    assert html.count("failed</span>") == 1
    assert "2 of 3" in text(report(runs, failed_below=0.97))


def test_comparison_of_settings_and_unfinished_runs(tmp_path):
    runs = [written(tmp_path / "a" / f"{s}_{k}", s, [0.2, 0.9 + k / 100], num_slots=k) for k in (4, 6) for s in (0, 1)]
    never = written(tmp_path / "b" / "never", 2, [0.1, 0.1], num_slots=6)
    (never / "metrics.jsonl").write_text('{"step": 5, "loss": 0.4}\n')
    html = text(report([*runs, never], tmp_path / "new" / "page.html"))
    check_page(html)
    for number in (4, 6):
        assert f"</span>&nbsp;num_slots {number}" in html and "<dt>model.num_slots</dt>" in html
    assert (
        "0 of 2" in html
        and "0 of 3" in html
        and html.count("unfinished</span>") == 1
        and "Not evaluated yet" in html
        and "a/0_4" in html
    )
    read = [history.read(run) for run in runs]
    assert [one.members for one in settings.settings(read)] == [[0, 1], [2, 3]]
    steps, values = settings.common_curve([[(1, 0.5), (2, 0.7)], [(2, 0.9), (3, 1.0)]])
    assert steps == [2] and values.tolist() == [[0.7], [0.9]]
