"""What a run survives: python benchmarks/faults.py [--kills 25] [--seed 0]

Trains a small run without a fault, then the same with faults, each time starting the same command again, and compares
the final state and the logged metrics bit for bit (times apart). Takes some minutes. As root also fills a small disk,
and takes away the right to write.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import jax
import numpy as np

from slotjax.config import disk
from slotjax.training import manifest
from slotjax.training.checkpoint import Checkpoints
from slotjax.training.metrics_log import read_metrics
from slotjax.training.restore import restore_state

ROOT = Path(__file__).parent.parent
STEPS = 300
FIELDS = ["num_steps=300", "log_every=1", "eval_every=50", "checkpoint_every=3"]
COMMAND = [sys.executable, "train.py", "--config", "configs/quick.py:tiny", *(f"--config.train.{f}" for f in FIELDS)]
STOPPED = 75


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = folder / "whole"
        finish(whole)
        print("| fault | tried | survived | lost |\n| --- | --- | --- | --- |", flush=True)
        show("SIGKILL, at random", *kills(folder / "killed", whole, arguments.kills))
        show("SIGTERM, at random", *signals(folder / "signalled", whole, 5))
        show("a byte, a cut or a file of a checkpoint", *damages(folder / "damaged", whole))
        show("a second run in the workdir", *second_run(folder / "second", whole))
        if os.getuid() == 0:
            show("a full disk", *full_disk(folder / "small", whole))
            show("a disk that became read-only", *read_only(folder / "locked", whole))


def show(fault: str, tried: int, survived: int, lost: str) -> None:
    print(f"| {fault} | {tried} | {survived} | {lost} |", flush=True)


def start(workdir: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, "--workdir", str(workdir)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(workdir: Path) -> tuple[int, str]:
    """Runs the command to its end; its exit code, and what it said on stderr."""
    process = start(workdir)
    said = process.communicate()[1]
    return process.returncode, said


def difference(workdir: Path, whole: Path) -> str:
    """What the run lost against one without a fault: "nothing", or what differs."""
    config = disk.load(whole / "config.json")
    ours, theirs = (jax.tree.leaves(restore_state(config, folder)[1]) for folder in (workdir, whole))
    if not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        return "the final state differs"
    return "nothing" if untimed(workdir) == untimed(whole) else "the metrics differ"


def untimed(workdir: Path) -> list[dict]:
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in ("time", "images_per_second")} for row in rows]


def wait_for_progress(workdir: Path, process: subprocess.Popen) -> None:
    """Until the process has saved something, then a random moment longer."""
    before = Checkpoints(workdir).latest_step
    while process.poll() is None and Checkpoints(workdir).latest_step in (before, None):
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1))


def kills(workdir: Path, whole: Path, count: int) -> tuple[int, int, str]:
    """Kills as many starts, each at a random moment after its first save; then lets one finish."""
    tried = during = 0
    while tried < count:
        process = start(workdir)
        wait_for_progress(workdir, process)
        if process.poll() is not None:
            break  # it came to its end first
        process.kill()
        process.communicate()
        tried += 1
        during += bool(list((workdir / "checkpoints").glob(".*")))
    code, said = finish(workdir)
    lost = difference(workdir, whole) if code == 0 else said
    return tried, tried if lost == "nothing" else 0, f"{lost}; {during} of them during a save"


def signals(workdir: Path, whole: Path, count: int) -> tuple[int, int, str]:
    """Asks as many starts to stop; each must save, and exit with its code within seconds."""
    slowest = tried = good = 0.0
    for _ in range(count):
        process = start(workdir)
        wait_for_progress(workdir, process)
        if process.poll() is not None:
            break
        sent = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        process.communicate()
        slowest = max(slowest, time.perf_counter() - sent)
        tried, good = tried + 1, good + (process.returncode == STOPPED)
    code, said = finish(workdir)
    lost = difference(workdir, whole) if code == 0 else said
    return int(tried), int(good) if lost == "nothing" else 0, f"{lost}; slowest exit {slowest:.1f} s"


def damages(workdir: Path, whole: Path) -> tuple[int, int, str]:
    """Damages every file of the newest checkpoint in three ways; each must be noticed and named."""
    newest = whole / "checkpoints" / str(STEPS)
    tried = noticed = 0
    for name in sorted(str(path.relative_to(newest)) for path in newest.rglob("*") if path.is_file()):
        for kind in (flip, truncate, Path.unlink):
            copy = Path(shutil.copytree(newest, workdir))
            tried += 1
            try:
                kind(copy / name)
                manifest.verify(copy)
            except manifest.Damaged as damage:
                noticed += name in str(damage)
            shutil.rmtree(copy)
    shutil.copytree(whole, workdir)
    flip(next((workdir / "checkpoints" / str(STEPS) / "state").rglob("*/d/*")))
    code, said = finish(workdir)
    return tried, noticed, difference(workdir, whole) if code == 0 else said


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def second_run(workdir: Path, whole: Path) -> tuple[int, int, str]:
    process = start(workdir)
    wait_for_progress(workdir, process)
    code, said = finish(workdir)
    process.communicate()
    refused = code == 2 and "another run is at work there" in said
    return 1, int(refused), difference(workdir, whole)


def full_disk(workdir: Path, whole: Path) -> tuple[int, int, str]:
    """A disk of a few MiB that fills while the run goes on; then there is room again."""
    with small_disk(workdir, "size=6m"):
        run = workdir / "run"
        process = start(run)
        wait_for_progress(run, process)
        with contextlib.suppress(OSError):  # the disk is as full as can be
            (workdir / "ballast").write_bytes(bytes(5 * 2**20))
        said = process.communicate()[1]
        mount("remount,size=64m", workdir)
        return after(run, whole, process.returncode == 1 and "No space left" in said, said)


def read_only(workdir: Path, whole: Path) -> tuple[int, int, str]:
    """A disk that cannot be written when the run shall go on."""
    with small_disk(workdir, "size=64m"):
        run = Path(shutil.copytree(whole, workdir / "run"))
        shutil.rmtree(run / "checkpoints" / str(STEPS))
        mount("remount,ro", workdir)
        code, said = finish(run)
        mount("remount,rw", workdir)
        return after(run, whole, code == 2 and "ead-only file system" in said, said)


def after(run: Path, whole: Path, told: bool, said: str) -> tuple[int, int, str]:
    """Lets the run go on after the fault; it counts as survived if the fault was told and nothing is lost."""
    code, said_then = finish(run)
    lost = difference(run, whole) if code == 0 else said_then.strip()[-200:]
    return 1, int(told and lost == "nothing"), lost if told else f"{lost}; said: {said.strip()[-200:]}"


@contextlib.contextmanager
def small_disk(place: Path, options: str) -> Generator[None]:
    place.mkdir()
    mount(options, place)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def mount(options: str, place: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)


if __name__ == "__main__":
    main()
