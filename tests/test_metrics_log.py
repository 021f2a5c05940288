"""The file of a run's figures: what comes again, what was half written, what cannot be read."""

from slotjax.training.metrics_log import MetricsFile, read_metrics


def test_metrics_file_drops_what_comes_again_and_half_lines(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 5, "loss": 1.0}\n{"step": 6, "lo')
    assert [row["step"] for row in read_metrics(path)] == [1, 5]
    file = MetricsFile(path, 4)
    file.write({"step": 5, "loss": 0.5})
    file.close()
    assert [row["loss"] for row in read_metrics(path)] == [2.0, 0.5]
    assert capsys.readouterr().err == ""


def test_metrics_file_keeps_a_copy_of_what_it_cannot_read(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    damaged = '{"step": 1, "loss": 2.0}\n{"step": 2, "lo\x00\x00\n{"step": 3, "loss": 1.0}\n'
    path.write_text(damaged)
    MetricsFile(path, 3).close()
    assert [row["step"] for row in read_metrics(path)] == [1, 3]
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {path}: left out 1 line that cannot be read") and "metrics.damaged.jsonl" in said
    assert (tmp_path / "metrics.damaged.jsonl").read_text() == damaged
