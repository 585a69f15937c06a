"""Memory and speed of the mean of many checkpoints, beside reading their files.

    python benchmarks/soup.py --members 40 --model vit_base_patch16_224 --directory DIR

Trains a run of one step an epoch there that keeps all its checkpoints, unless it is there already (by SGD,
whose state is as large as the parameters: files are twice as large as members); then a process of its own
averages the checkpoints. Prints one JSON line: bytes of a member, the highest memory of that process before
and in averaging, seconds of averaging and of reading the files. The kernel's copies of the files are dropped
before each, which needs root; else `cold` is false.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PIECE = 2**23
"""Bytes read at a time."""


def train(directory: Path, model: str, members: int) -> None:
    """A run whose checkpoints are the members."""
    from sketch_jax.config import Config
    from sketch_jax.data.doodles import Doodles
    from sketch_jax.data.splits import HoldOut
    from sketch_jax.models.model_options import ModelOptions
    from sketch_jax.optim.options import Sgd
    from sketch_jax.optim.schedule_options import Constant
    from sketch_jax.run import run
    from sketch_jax.train.options import Checkpointing

    run(
        Config(
            name="soup",
            output_dir=str(directory),
            epochs=members,
            batch_size=4,
            image_size=32,
            source=Doodles(classes=("cat", "house"), train_per_class=4, test_per_class=2),
            split=HoldOut(fraction=0.5),
            model=ModelOptions(name=model),
            optimizer=Sgd(learning_rate=1e-3, momentum=0.0),
            schedule=Constant(),
            checkpointing=Checkpointing(keep_last=members),
        )
    )


def checkpoints_of(directory: Path) -> list[Path]:
    """The checkpoints of a run, in the order of their steps."""
    found = [path for path in (directory / "checkpoints").iterdir() if path.name.isdigit()]
    return sorted(found, key=lambda path: int(path.name))


def average(directory: Path) -> dict[str, Any]:
    """What one process takes to average all checkpoints."""
    from sketch_jax.ensemble.soups import uniform_soup
    from sketch_jax.train.checkpoint_arrays import read_leaves
    from sketch_jax.train.host_memory import keep_freed_memory

    def loader(path: Path) -> Any:
        return lambda: read_leaves(path, ["trainable/", "statistics/"])

    keep_freed_memory()  # as scripts/soup.py does
    loaders = [loader(path) for path in checkpoints_of(directory)]
    loaders[0]()  # loads orbax, too
    before, began = _peak(), time.perf_counter()
    soup = uniform_soup(loaders)
    seconds = time.perf_counter() - began
    member = sum(leaf.nbytes for leaf in soup.values())
    return {"member_bytes": member, "peak_bytes_of_one": before, "peak_bytes": _peak(), "seconds": seconds}


def read_files(directory: Path) -> tuple[int, float]:
    """Bytes of all checkpoints' files, and the seconds to read them."""
    files = [path for place in checkpoints_of(directory) for path in place.rglob("*") if path.is_file()]
    total, began = 0, time.perf_counter()
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(PIECE):
                total += len(piece)
    return total, time.perf_counter() - began


def drop_copies() -> bool:
    """Drops the kernel's copies of files; returns whether that was allowed."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def _peak() -> int:
    """Of this program alone; getrusage tells that of the process that started it where it was larger."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=40, metavar="N", help="checkpoints (default 40)")
    parser.add_argument("--model", default="vit_base_patch16_224", help="architecture of the members")
    parser.add_argument(
        "--directory", type=Path, required=True, help="of the run; made where it is not there"
    )
    parser.add_argument("--average", action="store_true", help="average alone, in this process")
    options = parser.parse_args()
    if options.average:
        print(json.dumps(average(options.directory)))
        return
    if not (options.directory / "checkpoints").is_dir():
        train(options.directory, options.model, options.members)
    cold = drop_copies()
    command = [sys.executable, __file__, "--directory", str(options.directory), "--average"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout.splitlines()[-1])
    drop_copies()
    total, seconds = read_files(options.directory)
    more = {"model": options.model, "members": len(checkpoints_of(options.directory)), "cold": cold}
    more |= {"file_bytes": total, "seconds_of_reading": seconds}
    print(json.dumps(more | facts))


if __name__ == "__main__":
    main()
