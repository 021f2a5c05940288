"""How every command starts and ends: flags, mistakes, signals, streams, what is kept."""

import argparse
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from helpers import ENVIRONMENT, ROOT, command

from slotjax import cli, evaluate, pack, report, segment
from slotjax.errors import UserError
from slotjax.export import __main__ as export
from slotjax.reporting import card
from slotjax.system import compilation, writing


@pytest.mark.parametrize(
    ("module", "flags", "message"),
    [
        (segment, "a.png", "--workdir and --weights: give one of the two, .*there are .*quick"),
        (segment, "--workdir runs/x --weights quick a.png", "--workdir and --weights: give one of the two"),
        (segment, "--weights quick", "IMAGE is missing"),
        (segment, "--weights quack a.png", "quack: no such .* no packaged weights .*one of .*quick"),
        (segment, "--weights quick missing.png", "missing.png: no such file; name pictures"),
        (segment, "--weights quick text.png", "text.png is no picture"),
        (segment, "--workdir none text.png", "none/config.json: no such file"),
        (segment, "--weights quick --sigma 0 a.png", "--sigma: must be a number from 0.001 to 1000, not 0"),
        (segment, "--weights quick --num-slots 257 a.png", "--num-slots: must be a whole number from 1 to 256"),
        (segment, "--weights . text.png", "^\\.: is a directory; a training run is for --workdir"),
        (segment, "--weights quick text.png --output text.png", "--output text.png: .*text.png is no folder; name"),
        (report, "--weights quick --output .", "--output \\.: is a directory; name a file"),
        (report, "--weights quick --failed-below 0.5", "--failed-below 0.5: is for a comparison; name several --"),
        (report, "", "--workdir and --weights: give one of the two"),
        (report, "--weights quack", "quack: no such .* no packaged weights .*one of .*quick"),
        (card, "quack", "quack: no such .* no packaged weights .*one of .*quick"),
        (card, "text.png", "text.png: not a file of weights"),
        (evaluate, "--weights quick --position-weight 2", "--position-weight 2: is for --method kmeans and soft_km"),
        (evaluate, "--weights quick --method kmeans --num-iterations 5", "--num-iterations 5: is for --method slots"),
        (evaluate, "--weights quick --output .", "--output \\.: is a directory; name a file"),
        (evaluate, "--weights quick --output text.png/a", "--output text.png/a: .*text.png is no folder; name"),
        (pack, "--workdir none --output text.png/a.safetensors", "--output .*text.png is no folder; name another"),
        (export, "--weights quick --to text.png/a.onnx", "--to text.png/a.onnx: .*text.png is no folder; name another"),
        (evaluate, "", "--workdir and --weights: give one of the two"),
        (evaluate, "--workdir none", "none/config.json: no such file"),
        (evaluate, "--weights quick --images 0", "--images: must be a whole number from 1 to 1000000, not 0"),
        (evaluate, "--weights quick --images 1e30", "--images: must be a whole number .* not 1e30"),
        (evaluate, "--weights quick --num-slots 0", "--num-slots: must be a whole number from 1 to 1000, not 0"),
        (evaluate, "--weights quick --num-iterations -1", "--num-iterations: must be a whole number .* not -1"),
        (evaluate, "--weights quick --position-weight nan", "--position-weight: must be a number .* not nan"),
        (evaluate, "--weights quick --position-weight inf", "--position-weight: must be a number .* not inf"),
        (evaluate, "--weights quick --position-weight -1", "--position-weight: must be a number .* not -1"),
        (evaluate, "--weights quick --method k", "--method: invalid choice: 'k'"),
        (evaluate, "--weights quick --method kmean", "did you mean kmeans\\? python -m slotjax.evaluate --help lists"),
        (evaluate, "--weights quik", "quik: no such .*; did you mean quick\\?$"),
        (evaluate, ".", "\\.: belongs to no flag; did you mean --workdir \\.\\?"),
        (evaluate, "--weights quick --data quack", "data.name='quack': choose one of"),
        (evaluate, "--weights quick --imags 3", "--imags: no such flag; did you mean --images\\?"),
    ],
)
def test_mistakes_are_one_line(module, flags, message, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("not a picture")
    with pytest.raises(UserError, match=message) as error:
        run(module, *flags.split())
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["text.png"]


def test_paths_as_people_write_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.path("~/a b") == tmp_path / "a b"
    assert cli.path("a/../b") == Path("a/../b")  # a link may lie between
    refused = {"": "an empty path", "x" * 300: "File name too long", "\udcc3x": "LC_ALL=C.UTF-8", "gs://a/b": "mount"}
    for text, message in refused.items():
        with pytest.raises(argparse.ArgumentTypeError, match=message) as error:
            cli.path(text)
        assert "\n" not in str(error.value)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(argparse.ArgumentTypeError, match="Permission denied"):
        cli.path(str(tmp_path))


def test_usage_is_the_command(run, capsys):
    for module in (evaluate, segment):
        with pytest.raises(SystemExit):
            run(module, "--help")
        assert capsys.readouterr().out.startswith(f"usage: python -m {module.__name__} [-h]")


def test_a_mistake_costs_no_import_of_jax():
    script = "import sys; from slotjax import cli, {0}; {0}.parse(); print('jax' in sys.modules)"
    for module in ("evaluate", "segment", "report"):
        result = command("-c", script.format(module), "--workdir", "x")
        assert result.stdout == "False\n", result.stderr


def test_exit_codes_of_commands(tmp_path):
    for arguments in (["evaluate"], ["evaluate", "--images", "0"], ["segment", "a.png"], ["report"], ["pack"]):
        result = command("-m", f"slotjax.{arguments[0]}", *arguments[1:], cwd=tmp_path, PYTHONPATH=str(ROOT))
        assert result.returncode == 2 and not result.stdout
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr


def test_another_script_in_an_ascii_locale_is_told_at_the_start(tmp_path):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    arguments = ["--config", ROOT / "configs" / "quick.py:tiny", "--workdir", "ünï"]
    result = command(ROOT / "train.py", *arguments, cwd=tmp_path, **ascii_only)
    assert result.returncode == 2 and "export LC_ALL=C.UTF-8" in result.stderr and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
    result = command("-c", "from slotjax import cli; cli.run(lambda: print('\\xfc \\u2013'))", **ascii_only)
    assert result.stdout == "\\xfc \\u2013\n" and result.returncode == 0


def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word():
    script = "from slotjax import cli; cli.run(lambda: [print(i) for i in range(100_000)] and None)"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, cwd=ROOT) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


BUSY = {
    "python": "while True: pass",
    "an import": "sys.path.insert(0, sys.argv[1]); import slow",
    "a callback, where exceptions are lost": "gc.callbacks.append(lambda *_: time.sleep(60)); gc.collect()",
    "a call that holds the main thread": "threading.Lock().acquire() and time.sleep(60)",
    "a file half written": "w = writing.whole(Path(sys.argv[1]) / 'new'); w.__enter__().write(b'x'); time.sleep(60)",
}


@pytest.mark.parametrize("what", BUSY)
def test_ctrl_c_is_one_line_whatever_is_under_way(what, tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    pass\n")
    imports = "import gc, signal, sys, threading, time; from pathlib import Path; from slotjax import cli; "
    imports += "from slotjax.system import writing"
    heeded = "signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started with"
    script = f"{imports}\n{heeded}\ndef main():\n    print('ready', flush=True)\n    {BUSY[what]}\ncli.run(main)"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=pipe, stderr=pipe, cwd=ROOT, env=ENVIRONMENT
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.05)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"interrupted\n"
    assert process.returncode == 130 and time.monotonic() - started < 5
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".py"] in ([], ["__pycache__"])


def test_a_platform_that_is_not_there_is_one_line(tmp_path, photos):
    arguments = ["-m", "slotjax.segment", "--weights", "quick", photos / "photo.png", "--output", tmp_path / "out"]
    result = command(*arguments, JAX_PLATFORMS="cuda", CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 2
    assert (
        result.stderr
        == "error: JAX_PLATFORMS=cuda: no such device can be used here; unset it, or set JAX_PLATFORMS=cpu\n"
    )


def test_what_cannot_be_read_of_the_compilation_cache_is_replaced(tmp_path):
    """An emptied or shortened entry goes when JAX warns of it, so that what is compiled next takes its place."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    def compiled(number: float) -> None:
        jax.jit(lambda x: x * number).lower(1.0).compile()

    settings = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_compilation_cache_max_size": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        try:
            for name, value in settings.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
            compilation.replace_damaged(tmp_path)
            compiled(1.5)
            (entry,) = tmp_path.glob("*-cache")
            content = entry.read_bytes()
            for damage in (b"", content[:100]):
                entry.write_bytes(damage)
                jax.clear_caches()
                compiled(1.5)
                assert abs(entry.stat().st_size - len(content)) < 50  # how long it took is part of it
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
    assert not [warning for warning in shown if "persistent" in str(warning.message)]


def test_what_is_no_file_is_written_to_as_it_is(tmp_path):
    """`--output /dev/null`, and a link, stay what they are."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writing.write_text(tmp_path / "pipe", "a")
    assert os.read(reader, 9) == b"a" and (tmp_path / "pipe").is_fifo()
    os.close(reader)
    (tmp_path / "link").symlink_to("target")
    writing.write_text(tmp_path / "link", "b")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "b"


def test_a_python_without_the_packages_gets_one_line():
    result = subprocess.run(
        [sys.executable, "-S", "train.py", "--config", "configs/quick.py"],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: No module named ") and "pip install -e ." in result.stderr


def test_importing_is_light():
    heavy = ("tensorflow_datasets", "grain", "orbax", "matplotlib", "jinja2", "tensorflow", "PIL")
    code = f"import sys, slotjax; print([m for m in {heavy} if m in sys.modules])"
    result = command("-W", "error", "-c", code)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
