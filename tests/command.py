"""Runs of the command, shrunken to seconds: in processes of their own, or in this one, 3 s less each."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from sketch_jax.main import main

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "sketch_jax.main", "--config"]
QUICKSTART = str(ROOT / "configs" / "quickstart.py")
TINY = (
    "--source.classes cat fish house star --source.train-per-class 10 --source.test-per-class 3 "
    "--image-size 32 --batch-size 8 --epochs 2 --model.name test_efficientnet --split.fraction 0.2 "
    "--logging.every-steps 2 --loading.workers 0"
).split()

SMALL = "--model.pretrained None --model.name test_vit --image-size 32 --batch-size 4 --epochs 1".split()
"""For images in files."""


def environment(XLA_FLAGS: str = "", **changes: str) -> dict[str, str]:  # noqa: N803  (a variable's name)
    """This process's, with changes; flags of XLA are added to those that it has."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAGS}"
    stated = {"JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "default", "XLA_FLAGS": flags}
    return {**os.environ, **stated, **changes}


def start(config: str, *options: str, **changes: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, config, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**changes),
    )


def finish(config: str, *options: str, **changes: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, config, *options], capture_output=True, text=True, env=environment(**changes), timeout=600
    )


def here(config: str, *options: str) -> subprocess.CompletedProcess:
    """What `finish` returns, of the command in this process, where JAX is set up already."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code = main(["--config", config, *options])
        except SystemExit as end:  # of the parser
            code = end.code
    return subprocess.CompletedProcess([config, *options], code, out.getvalue(), error.getvalue())


def tiny(directory: Path, *options: str) -> subprocess.CompletedProcess:
    return here(QUICKSTART, *TINY, "--output-dir", str(directory), *options)


def tiny_process(directory: Path, *options: str, **changes: str) -> subprocess.CompletedProcess:
    return finish(QUICKSTART, *TINY, "--output-dir", str(directory), *options, **changes)


def card(directory: Path) -> dict:
    return json.loads((directory / "run.json").read_text())


def metrics(directory: Path) -> list[dict]:
    """Lines of metrics.jsonl, without the figures that depend on the clock."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "per_second" not in name} for line in lines]


def final_state(directory: Path):
    """The state in the newest checkpoint of a run."""
    from sketch_jax.config import read_config
    from sketch_jax.run.programs import initial_state
    from sketch_jax.run.setting import prepare
    from sketch_jax.train.checkpoints import Checkpoints

    setting = prepare(read_config(directory / "config.json"), Console(quiet=True))
    with Checkpoints(directory / "checkpoints", report=print) as checkpoints:
        restored = checkpoints.restore_latest(initial_state(setting))
    assert restored is not None
    return restored.state


def images_in(folder: Path, count: int, size: int = 40) -> None:
    """Writes so many images of noise, named by number."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(len(folder.name))
    for index in range(count):
        pixels = generator.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
