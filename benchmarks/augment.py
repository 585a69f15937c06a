"""Milliseconds that augmentations of a batch take, jitted: each for every image, policies, whole recipes.

    python benchmarks/augment.py [--batch-size 64] [--image-size 224] [--only elastic blur] [--turns 5]

Prints a line for each: the fastest turn, and the seconds of compilation. The first line is the way from bytes
to images of 0 to 1 that all others contain.
"""

import argparse
import time

import jax
import numpy as np

from sketch_jax.augment import operation_options as options
from sketch_jax.augment.mixing_options import Mixing
from sketch_jax.augment.options import Augmentation
from sketch_jax.augment.pipeline import create_augment
from sketch_jax.augment.policies.options import (
    AugMix,
    AutoAugment,
    RandAugment,
    ThreeAugment,
    TrivialAugmentWide,
)

CLASSES = 500
CASES = {
    "nothing": Augmentation(),
    "affine": Augmentation(horizontal_flip=0.5, rotation_degrees=15.0, shift=0.1, scale=(0.8, 1.2)),
    "perspective": Augmentation(perspective=options.Perspective(probability=1.0)),
    "resized_crop": Augmentation(resized_crop=options.ResizedCrop()),
    "elastic": Augmentation(elastic=options.Elastic(probability=1.0)),
    "grid_distortion": Augmentation(grid_distortion=options.GridDistortion(probability=1.0)),
    "optical_distortion": Augmentation(optical_distortion=options.OpticalDistortion(probability=1.0)),
    "gamma": Augmentation(gamma=options.Gamma(probability=1.0)),
    "posterize": Augmentation(posterize=options.Posterize(probability=1.0)),
    "solarize": Augmentation(solarize=options.Solarize(probability=1.0)),
    "invert": Augmentation(invert=1.0),
    "equalize": Augmentation(equalize=1.0),
    "auto_contrast": Augmentation(auto_contrast=1.0),
    "grey": Augmentation(grey=1.0),
    "clahe": Augmentation(clahe=options.Clahe(probability=1.0)),
    "stroke_width": Augmentation(stroke_width=options.StrokeWidth(probability=1.0)),
    "sharpness": Augmentation(sharpness=options.Sharpness(probability=1.0)),
    "unsharp_mask": Augmentation(unsharp_mask=options.UnsharpMask(probability=1.0)),
    "emboss": Augmentation(emboss=options.Emboss(probability=1.0)),
    "blur": Augmentation(blur=options.GaussianBlur(probability=1.0)),
    "motion_blur": Augmentation(motion_blur=options.MotionBlur(probability=1.0)),
    "edge_channels": Augmentation(edge_channels=1.0),
    "watermark": Augmentation(watermark=options.Watermark(probability=1.0)),
    "coarse_dropout": Augmentation(coarse_dropout=options.CoarseDropout(probability=1.0)),
    "erasing": Augmentation(erasing=options.Erasing(probability=1.0)),
    "noise": Augmentation(noise=options.GaussianNoise(probability=1.0)),
    "colour_jitter": Augmentation(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    "auto_augment": Augmentation(policy=AutoAugment()),
    "rand_augment": Augmentation(policy=RandAugment()),
    "trivial_augment_wide": Augmentation(policy=TrivialAugmentWide()),
    "aug_mix": Augmentation(policy=AugMix()),
    "three_augment": Augmentation(policy=ThreeAugment()),
    "mixing": Augmentation(mixing=Mixing()),
    "rand_augment and mixing": Augmentation(horizontal_flip=0.5, policy=RandAugment(), mixing=Mixing()),
    "curriculum's last stage": Augmentation(
        horizontal_flip=0.5,
        vertical_flip=0.5,
        rotation_degrees=15.0,
        rotation_probability=0.5,
        elastic=options.Elastic(alpha=30.0, sigma=4.0, probability=0.5),
        grid_distortion=options.GridDistortion(steps=4, limit=0.2, probability=0.5),
    ),
    "strong": Augmentation(
        horizontal_flip=0.5,
        rotation_degrees=15.0,
        shift=0.1,
        scale=(0.8, 1.2),
        perspective=options.Perspective(),
        elastic=options.Elastic(),
        grid_distortion=options.GridDistortion(),
        gamma=options.Gamma(),
        equalize=0.1,
        invert=0.1,
        stroke_width=options.StrokeWidth(),
        blur=options.GaussianBlur(probability=0.3),
        motion_blur=options.MotionBlur(probability=0.2),
        coarse_dropout=options.CoarseDropout(),
        noise=options.GaussianNoise(probability=0.2),
        brightness=0.2,
        contrast=0.2,
    ),
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="cases to run")
    parser.add_argument("--turns", type=int, default=5, help="runs of each; the fastest counts")
    arguments = parser.parse_args()
    shape = (arguments.batch_size, arguments.image_size, arguments.image_size, 3)
    images = jax.device_put(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    print(f"{arguments.batch_size} images of {arguments.image_size} px on {jax.devices()[0].device_kind}")
    print(f"{'':26}{'ms':>8}{'compile s':>12}")
    for name in arguments.only:
        milliseconds, seconds = measure(CASES[name], images, arguments.turns)
        print(f"{name:26}{milliseconds:8.1f}{seconds:12.1f}", flush=True)


def measure(augmentation: Augmentation, images: jax.Array, turns: int) -> tuple[float, float]:
    """Milliseconds of the fastest turn, each with a key of its own, and seconds of compilation."""
    rows = images, np.arange(len(images), dtype=np.int32) % CLASSES, np.ones(len(images), bool)
    began = time.perf_counter()
    augment = jax.jit(create_augment(augmentation, CLASSES, steps_per_epoch=100))
    compiled = augment.lower(jax.random.key(0), 0, *rows).compile()
    seconds = time.perf_counter() - began
    times = []
    for turn in range(turns + 1):
        key = jax.block_until_ready(jax.random.key(turn))
        began = time.perf_counter()
        jax.block_until_ready(compiled(key, 0, *rows))
        times.append(time.perf_counter() - began)
    return 1e3 * min(times[1:]), seconds


if __name__ == "__main__":
    main()
