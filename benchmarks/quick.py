"""How well and how fast configs/quick.py learns: python benchmarks/quick.py [--seeds 5] [--folder runs/quick_seeds]

Trains each seed from scratch with the command a user types, scores the final step and the k-means baselines on the same
held-out images, and prints a table for the docs. A seed whose FG-ARI stays below 0.9 counts as failed.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
GOOD = 0.9
FIGURES = {"fg_ari": "FG-ARI", "ari": "ARI", "miou": "foreground mIoU", "mse": "MSE"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/quick.py")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("runs/quick_seeds"))
    arguments = parser.parse_args()
    rows = [train(arguments.config, seed, arguments.folder / f"seed_{seed}") for seed in range(arguments.seeds)]
    print_seeds(rows)
    for method, weight in (("kmeans", 0.0), ("kmeans", 1.0), ("kmeans", 2.0), ("soft_kmeans", 0.0)):
        print_baseline(arguments.folder / "seed_0", method, weight)


def train(config: str, seed: int, workdir: Path) -> dict:
    """One seed from scratch; its last evaluation, and the seconds of the whole command."""
    if workdir.exists():
        sys.exit(f"{workdir} exists: name another --folder, so that every seed starts from scratch")
    start = time.perf_counter()
    run("train.py", "--config", config, f"--config.seed={seed}", "--workdir", str(workdir))
    seconds = time.perf_counter() - start
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in lines if "num_images" in row][-1]
    print(f"seed {seed}: {seconds:.0f} s, " + ", ".join(f"{k} {last[k]:.3f}" for k in FIGURES), flush=True)
    return last | {"seed": seed, "seconds": seconds}


def run(*command: str) -> str:
    result = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stdout + result.stderr)
    return result.stdout


def print_seeds(rows: list[dict]) -> None:
    import jax

    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, jax {jax.__version__}")
    print(f"{rows[0]['step']} steps; {rows[0]['num_images']} held-out images\n")
    print(f"| seed | {' | '.join(FIGURES.values())} | seconds |\n| --- {'| --- ' * (len(FIGURES) + 1)}|")
    for row in rows:
        print(f"| {row['seed']} | {' | '.join(f'{row[k]:.3f}' for k in FIGURES)} | {row['seconds']:.0f} |")
    medians = [f"{statistics.median(row[k] for row in rows):.3f}" for k in FIGURES]
    print(f"| median | {' | '.join(medians)} | {statistics.median(row['seconds'] for row in rows):.0f} |")
    failed = sum(row["fg_ari"] < GOOD for row in rows)
    print(f"\n{failed} of {len(rows)} seeds failed (FG-ARI below {GOOD})\n")


def print_baseline(workdir: Path, method: str, weight: float) -> None:
    out = run("-m", "slotjax.evaluate", "--workdir", str(workdir), "--method", method, "--position-weight", str(weight))
    figures = re.findall(r"(FG-ARI|foreground mIoU|ARI) +(-?\d\.\d+)", out)
    print(f"{method}, position weight {weight}: " + ", ".join(f"{name} {float(value):.3f}" for name, value in figures))


if __name__ == "__main__":
    main()
