"""Kills a run with SIGKILL at random moments, goes on each time, and compares the end with a straight run.

    python scripts/kill_and_resume.py --kills 20 --directory kill_test --config configs/quickstart.py \
        --checkpointing.every-steps 10

Options that this script does not know go to the run. Every value of the last checkpoint, all metrics but the
speeds, and all predictions must have the same bits; exit code 1 when they do not.
"""

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sketch_jax.train.checkpoint_arrays import read_leaves
from sketch_jax.train.tracking import read_lines


def start(options: Sequence[str], directory: Path) -> subprocess.Popen:
    """Starts the run; what it prints goes to a file beside its directory."""
    with directory.with_suffix(".log").open("a") as log:
        command = [sys.executable, "-m", "sketch_jax.main", *options, "--output-dir", str(directory)]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def finish(options: Sequence[str], directory: Path) -> None:
    """Runs to the end.

    Raises:
        SystemExit: the run failed.
    """
    if code := start(options, directory).wait():
        raise SystemExit(f"the run failed with exit code {code}: see {directory.with_suffix('.log')}")


def steps_logged(directory: Path) -> int:
    """The last step in metrics.jsonl, 0 before the first."""
    return max((line["step"] for line in read_lines(directory / "metrics.jsonl").values()), default=0)


def kill_once(options: Sequence[str], directory: Path, seconds: float) -> bool:
    """Starts the run, and kills it after so many seconds; False when it ended before."""
    process = start(options, directory)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def figures(directory: Path) -> dict[str, Any]:
    """All that two runs of one configuration must have in common, by name."""
    steps = [int(path.name) for path in (directory / "checkpoints").iterdir() if path.name.isdigit()]
    found: dict[str, Any] = dict(read_leaves(directory / "checkpoints" / str(max(steps)), [""]))
    for path in sorted((directory / "predictions").glob("*.npz")):
        with np.load(path) as file:
            found |= {f"{path.name}/{name}": file[name] for name in file.files}
    for line in read_lines(directory / "metrics.jsonl").values():
        for name, value in line.items():
            if "per_second" not in name:
                found[f"metrics/{line['step']}/{name}"] = np.array(value, np.float64)
    return found


def differing(straight: dict[str, Any], broken: dict[str, Any]) -> list[str]:
    """Names of what is missing on one side or has other bits."""
    return [
        name
        for name in sorted(straight.keys() | broken.keys())
        if name not in straight
        or name not in broken
        or straight[name].shape != broken[name].shape
        or straight[name].dtype != broken[name].dtype
        or straight[name].tobytes() != broken[name].tobytes()
    ]


def main() -> int:
    """Runs straight, runs broken, compares."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs")
    parser.add_argument(
        "--moments-seed", type=int, default=None, help="of the moments; by default another each time"
    )
    parser.add_argument("--directory", type=Path, required=True, help="new; all runs go into it")
    known, options = parser.parse_known_args()
    if known.directory.exists():
        parser.error(f"--directory {known.directory}: exists already; give a new one")
    known.directory.mkdir(parents=True)
    seed = time.time_ns() if known.moments_seed is None else known.moments_seed
    moments = random.Random(seed)
    straight = known.directory / "straight"
    began = time.monotonic()
    finish(options, straight)
    whole = time.monotonic() - began
    print(f"straight run: {whole:.0f} s, {steps_logged(straight)} steps; moments drawn with seed {seed}")
    expected, kills, rounds = figures(straight), 0, 0
    while kills < known.kills:
        rounds += 1
        broken = known.directory / f"broken_{rounds}"
        while kills < known.kills and kill_once(options, broken, moments.uniform(0, 0.9 * whole)):
            kills += 1
            print(f"kill {kills}, at step {steps_logged(broken)} or later", flush=True)
        finish(options, broken)
        wrong = differing(expected, figures(broken))
        print(
            f"{len(wrong)} of {len(expected)} values differ at the end", *wrong[:20], sep="\n  ", flush=True
        )
        if wrong:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
