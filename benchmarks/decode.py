"""Images decoded a second on one core: `load_image` against a torch DataLoader with timm's transforms.

Makes JPEGs that look like sketches, and prints a JSON line for each kind; the sides take turns. Seconds are
those of the processor, so that other programs disturb neither side; torch runs one thread and no worker
process, which spares it the cost of sending batches between processes.

    python benchmarks/decode.py [--transforms train] [--sizes 500x500 800x600] [--images 64] [--turns 5]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sketch_jax.data.decode import JpegScaling, load_image
from sketch_jax.preprocessing import Preprocessing

BATCH_SIZE = 32
PAPERS = {"grey": (255, 255, 255), "tinted": (252, 248, 236)}
"""Colours of the paper; JPEGs have three channels in both, but on grey paper all are equal."""
TRANSFORMS = {
    "train": {"is_training": True},
    "rand-augment": {"is_training": True, "auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.25},
    "eval": {"is_training": False, "crop_mode": "squash", "crop_pct": 1.0, "interpolation": "bicubic"},
}


def main() -> None:
    """Prints one line for each size and paper."""
    arguments = parse_arguments()
    for size in arguments.sizes:
        width, height = map(int, size.split("x"))
        for paper, colour in PAPERS.items():
            with tempfile.TemporaryDirectory() as folder:
                paths = write_sketches(Path(folder), (width, height), colour, arguments.images)
                figures = compare(Path(folder), paths, arguments)
            print(
                json.dumps({"jpeg": size, "paper": paper, "transforms": arguments.transforms} | figures),
                flush=True,
            )


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", nargs="+", default=["500x500", "800x600", "2000x1500"], help="width x height"
    )
    parser.add_argument("--image-size", type=int, default=224, help="pixels of a side of the model's input")
    parser.add_argument("--transforms", choices=TRANSFORMS, default="train", help="timm's transforms")
    parser.add_argument("--images", type=int, default=64, help="JPEGs of each kind")
    parser.add_argument("--turns", type=int, default=5, help="passes of each side; the median counts")
    return parser.parse_args()


def write_sketches(
    folder: Path, size: tuple[int, int], colour: tuple[int, int, int], count: int
) -> list[Path]:
    """JPEGs of strokes on grainy paper, of about the bytes per pixel of ImageNet-Sketch."""
    (folder / "sketches").mkdir()
    paths = [folder / "sketches" / f"{number}.jpg" for number in range(count)]
    for seed, path in enumerate(paths):
        draw_sketch(np.random.default_rng(seed), size, colour).save(path, quality=90)
    return paths


def draw_sketch(rng: np.random.Generator, size: tuple[int, int], colour: tuple[int, int, int]) -> Image.Image:
    """Twenty-five wandering strokes."""
    image = Image.new("RGB", size, colour)
    pen = ImageDraw.Draw(image)
    for _ in range(25):
        directions = np.cumsum(rng.normal(0.0, 0.3, 30)) + rng.uniform(0.0, 2.0 * np.pi)
        steps = np.stack([np.cos(directions), np.sin(directions)], -1) * min(size) / 40
        points = rng.uniform(0.0, 1.0, 2) * size + np.cumsum(steps, 0)
        tone = int(rng.integers(0, 90))
        pen.line([tuple(point) for point in points], fill=(tone, tone, tone), width=int(rng.integers(1, 6)))
    grain = rng.normal(0.0, 3.0, (size[1], size[0], 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0.0, 255.0).astype(np.uint8))


def compare(folder: Path, paths: list[Path], arguments: argparse.Namespace) -> dict[str, Any]:
    """Images a second of each side, their ratios, and what fast decoding changes."""
    preprocessing = Preprocessing(image_size=arguments.image_size)
    sides: dict[str, Callable[[], object]] = {
        "timm": make_timm_pass(folder, arguments),
        "exact": lambda: load_batches(paths, preprocessing, "exact"),
        "fast": lambda: load_batches(paths, preprocessing, "fast"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(arguments.turns + 1):
        for name, run in sides.items():
            elapsed = processor_seconds(run)
            if turn > 0:
                seconds[name].append(elapsed)
    rates = {name: len(paths) / statistics.median(values) for name, values in seconds.items()}
    return {
        "kilobytes": round(statistics.mean(path.stat().st_size for path in paths) / 1e3),
        **{f"{name}_images_per_second": round(rate, 1) for name, rate in rates.items()},
        "exact_ratio": round(rates["exact"] / rates["timm"], 2),
        "fast_ratio": round(rates["fast"] / rates["timm"], 2),
        "fast_mean_abs_difference": round(mean_difference(paths[:8], preprocessing), 2),
    }


def make_timm_pass(folder: Path, arguments: argparse.Namespace) -> Callable[[], object]:
    """One pass of a torch DataLoader over the folder."""
    import torch
    from timm.data.dataset import ImageDataset
    from timm.data.transforms_factory import create_transform

    torch.set_num_threads(1)
    transform = create_transform(arguments.image_size, **TRANSFORMS[arguments.transforms])
    loader = torch.utils.data.DataLoader(
        ImageDataset(str(folder), transform=transform), batch_size=BATCH_SIZE
    )
    return lambda: [images.shape for images, _ in loader]


def load_batches(
    paths: list[Path], preprocessing: Preprocessing, jpeg_scaling: JpegScaling
) -> list[np.ndarray]:
    """Batches of uint8 images, as the pipeline makes them."""
    images = [load_image(path, preprocessing, jpeg_scaling=jpeg_scaling) for path in paths]
    return [np.stack(images[start : start + BATCH_SIZE]) for start in range(0, len(images), BATCH_SIZE)]


def mean_difference(paths: list[Path], preprocessing: Preprocessing) -> float:
    """Mean absolute difference of fast from exact pixels, of 255."""
    exact, fast = (
        load_batches(paths, preprocessing, scaling)[0].astype(int) for scaling in ("exact", "fast")
    )
    return float(np.abs(exact - fast).mean())


def processor_seconds(run: Callable[[], object]) -> float:
    """Seconds that this process spends in a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
