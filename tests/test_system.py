"""The machine as it may be: no home, odd paths, two processes at once."""

import threading
from pathlib import Path

import pytest

from slotjax.data import convert, export, prepare_clevr
from slotjax.errors import UserError
from slotjax.system import compilation, derived, locks, paths, writing


@pytest.fixture
def homeless(monkeypatch):
    """As under a container's bare user id."""

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)


def test_without_a_home_there_is_no_cache(homeless, monkeypatch, capsys, tmp_path):
    assert paths.user_cache() is None
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    compilation.keep_compiled_programs()
    assert (
        capsys.readouterr().err == "note: compiled programs are not kept for the next run: no home directory is known\n"
    )
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert derived.derived_path(tmp_path / "x", ".json") is None
    derived.keep(None, {})
    assert derived.read(None) == {}


@pytest.mark.parametrize("name", ["x", "a b", "ünï", "x" * 250, ".."])
def test_derived_files_lie_beside_their_source_or_in_the_cache(tmp_path, cache_home, name):
    path = derived.derived_path(tmp_path / "data" / name, ".json")
    derived.keep(path, {"a": 1})
    assert derived.read(path) == {"a": 1}
    assert (path.parent == cache_home / "slotjax") == (name != "..")  # there is no folder called data
    (tmp_path / "data").mkdir()
    beside = derived.derived_path(tmp_path / "data" / name, ".json")
    assert (beside.parent == tmp_path / "data") == (len(name) < 200 and name != "..")


def test_a_derived_file_that_cannot_be_written_is_a_note(tmp_path, capsys):
    (tmp_path / "file").touch()
    derived.keep(tmp_path / "file" / "x.json", {})
    assert "x.json cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("x" * 300, "File name too long"),
        ("~nobody-here/x", "home directory that is not known"),
        ("a\0b", "is no path"),
        ("\udcfc", "export LC_ALL=C.UTF-8"),
        ("circle", "symbolic links"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        lambda path, other: convert.convert(path, other),
        lambda path, other: convert.convert(other, path),
        lambda path, other: prepare_clevr.prepare(path),
        lambda path, other: prepare_clevr.prepare(other, path),
        lambda path, other: export.main(["--scenes", "sprites", "--count", "1", "--out", path]),
    ],
)
def test_paths_that_cannot_be(tmp_path, monkeypatch, command, path, says):
    monkeypatch.chdir(tmp_path)
    Path("circle").symlink_to("circle")
    Path("there.tfrecords").touch()
    with pytest.raises(UserError, match=says) as error:
        command(path, "there.tfrecords")
    assert "\n" not in str(error.value) and str(error.value).isprintable()


def test_the_home_directory_is_put_for_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    export.main(["--scenes", "sprites", "--count", "1", "--out", "~/my scenes"])
    assert (tmp_path / "my scenes" / "sprites_train.tfrecords").is_file()


def test_a_folder_that_may_not_be_entered(tmp_path, monkeypatch):
    def refused(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(UserError, match=r"data.path: /secret cannot be opened \(Permission denied\): check the path"):
        paths.given("/secret", "data.path")


def test_others_wait_for_what_is_being_made(tmp_path, monkeypatch):
    order, started, waits, may_end = [], threading.Event(), threading.Event(), threading.Event()

    def say(line):
        assert line == f"Waiting for another process that is making {tmp_path / 'new' / 'x'} ..."
        waits.set()

    def make(name):
        with locks.locked(tmp_path / "new" / "x"):
            order.append(name)
            started.set()
            may_end.wait()

    monkeypatch.setattr(locks, "say", say)
    threads = [threading.Thread(target=make, args=(name,), daemon=True) for name in "ab"]
    threads[0].start()
    assert started.wait(60)
    threads[1].start()
    assert waits.wait(60) and order == ["a"]
    may_end.set()
    for thread in threads:
        thread.join()
    assert order == ["a", "b"] and not list((tmp_path / "new").iterdir())


def test_a_place_that_cannot_be_written_is_no_waiting(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="x: cannot be written .*; choose another folder"),
        locks.locked(tmp_path / "file" / "x"),
    ):
        pass


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    path = tmp_path / ("é" * 127)  # 254 bytes of at most 255
    writing.write_text(path, "whole")
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_only_leaves_out_who_holds_the_lock(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with (
        locks.hold(tmp_path),
        pytest.raises(UserError, match="at work there .*not known"),
        locks.hold(tmp_path),
    ):
        pass
