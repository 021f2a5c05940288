"""A process that asks for large pages begins anew, once, and with what it was given."""

import os
import subprocess
import sys

import pytest

from slotjax.system.pages import LARGE, TUNABLES, offered

PROGRAM = """
import os, sys
from slotjax.system.pages import ask_for_large_pages

print("begun", os.getpid(), flush=True)
sys.argv = sys.argv[:int(os.environ.get("KEEP", 9))]
ask_for_large_pages()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:])
"""


def lines(path, *arguments, **environment):
    path.write_text(PROGRAM)
    known = {name: value for name, value in os.environ.items() if name != TUNABLES}
    command = [sys.executable, "-W", "error", str(path), *arguments]
    return subprocess.run(
        command, env=known | environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.skipif(not offered(), reason="this kernel has no large pages")
def test_a_process_begins_anew_with_its_arguments(tmp_path):
    first, second, last = lines(tmp_path / "program.py", "--one", "two words")
    assert first == second and last == f"{LARGE} ['--one', 'two words']"


def test_what_the_user_asked_of_glibc_stays(tmp_path):
    _, last = lines(tmp_path / "program.py", "--one", **{TUNABLES: "glibc.malloc.check=0"})
    assert last == "glibc.malloc.check=0 ['--one']"


def test_arguments_of_a_part_of_a_process_are_no_reason(tmp_path):
    _, last = lines(tmp_path / "program.py", "--one", "two", KEEP="2")
    assert last == "None ['--one']"
