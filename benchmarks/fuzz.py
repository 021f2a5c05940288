"""Coverage-guided fuzzing of what reads untrusted files: python benchmarks/fuzz.py TARGET [--seconds 600]

Whatever a reader raises but a `UserError` in one line is a finding, and so is an input that takes 5 seconds of the
processor, hangs, or takes more than 3 GB. Findings are kept in --out, with the corpus, from which a later run goes on.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parent.parent
INSTRUMENTED = ["slotjax.system.reading", "slotjax.data", "slotjax.config", "slotjax.weights", "slotjax.models"]
LIBRARIES = ["PIL", "json", "safetensors"]
SLOW = 5.0  # seconds of the processor; of the clock a busy machine takes many more
LIMITS = ["-timeout=100", "-report_slow_units=100", "-rss_limit_mb=3000", "-max_len=30000"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=["tfrecords", "config", "pictures", "weights"])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--out", type=Path, help="folder for the corpus and the findings")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("error: atheris is not installed; pip install atheris", file=sys.stderr)
        return 2
    out = arguments.out or Path(tempfile.gettempdir()) / f"slotjax-fuzz-{arguments.target}"
    if arguments.child:
        fuzz(arguments.target, arguments.seconds, out)
    return watch(arguments.target, arguments.seconds, out)


def watch(target: str, seconds: int, out: Path) -> int:
    """Runs the fuzzer, which ends its process on a hang or when memory runs out, until the time is over."""
    for name in ("corpus", "findings"):
        (out / name).mkdir(parents=True, exist_ok=True)
    start, executions, coverage = time.time(), 0, "unknown"
    while (left := round(start + seconds - time.time())) > 0:
        command = [sys.executable, __file__, target, "--child", "--seconds", str(left), "--out", str(out)]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        executions += max([int(n) for n in re.findall(r"^#(\d+)", result.stderr, re.MULTILINE)], default=0)
        coverage = (re.findall(r"cov: (\d+)", result.stderr) or [coverage])[-1]
        if result.returncode and not executions:
            print(result.stderr[-2000:], file=sys.stderr)
            return 1
    took = time.time() - start
    findings = sorted(path for path in (out / "findings").iterdir() if path.suffix != ".txt")
    print(f"{target}: {executions} executions in {took:.0f} s, {executions / took:.0f}/s, {coverage} edges covered")
    print(f"{len(findings)} findings, kept in {out}/findings")
    for path in findings:  # a process that libFuzzer ended left no traceback
        told = path.with_name(f"{path.name}.txt")
        print(
            f"  {path.name}: {told.read_text().splitlines()[-1][:160] if told.exists() else 'hung, or out of memory'}"
        )
    return bool(findings)


def fuzz(target: str, seconds: int, out: Path) -> None:
    """The fuzzer itself; does not return."""
    import atheris

    sys.path.insert(0, str(ROOT / "tests"))
    with atheris.instrument_imports(include=INSTRUMENTED + LIBRARIES, enable_loader_override=False):
        import fuzz_targets

        function, seeds = fuzz_targets.TARGETS[target]
    for seed in seeds():
        (out / "corpus" / f"seed-{hashlib.sha256(seed).hexdigest()[:16]}").write_bytes(seed)

    def one(content: bytes) -> None:
        start = time.process_time()
        try:
            function(content)
            if (took := time.process_time() - start) > SLOW:
                raise TimeoutError(f"took {took:.1f} s")
        except Exception as error:
            keep(error, content, out / "findings")

    options = [*LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={out}/findings/"]
    atheris.Setup([sys.argv[0], *options, str(out / "corpus")], one)
    atheris.Fuzz()


def keep(error: Exception, content: bytes, findings: Path) -> None:
    """Writes down the first input of every kind of failure, told apart by where it happened."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    name = f"{type(error).__name__}-{Path(place.filename).stem}-{place.lineno}"
    if not (findings / name).exists():
        (findings / name).write_bytes(content)
        (findings / f"{name}.txt").write_text("".join(traceback.format_exception(error)), errors="replace")


if __name__ == "__main__":
    sys.exit(main())
