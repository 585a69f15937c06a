"""Small real image files and tables for the tests of sources."""

import csv

import numpy as np
from PIL import Image


def write_image(path, seed=0, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_table(path, columns, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def truncate(path):
    """Leaves the first half of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def write_classes(root, classes, count=3, suffix=".png"):
    """`root/class/0.png` and so on."""
    for name in classes:
        for number in range(count):
            write_image(root / name / f"{number}{suffix}", seed=number)
    return root


def write_contest(root, classes=("cat", "dog"), count=3, test_count=2):
    """A contest's folder: three tables, and images below `train` and `test`."""
    paths = [f"{name}/sketch_{number}.png" for name in classes for number in range(count)]
    labels = [label for label in range(len(classes)) for _ in range(count)]
    for seed, path in enumerate(paths):
        write_image(root / "train" / path, seed)
    for number in range(test_count):
        write_image(root / "test" / f"{number}.png", number)
    rows = [(path.split("/")[0], path, label) for path, label in zip(paths, labels, strict=True)]
    write_table(root / "train.csv", ("class_name", "image_path", "target"), rows)
    write_table(root / "test.csv", ("image_path",), [(f"{number}.png",) for number in range(test_count)])
    write_table(
        root / "sample_submission.csv",
        ("ID", "image_path", "target"),
        [(number, f"{number}.png", 0) for number in range(test_count)],
    )
    return root
