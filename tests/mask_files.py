"""Folders as in the mask contest, with small images."""

import csv

import numpy as np
from PIL import Image

PHOTOS = (*(f"mask{number}" for number in range(1, 6)), "incorrect_mask", "normal")
PEOPLE = (
    ("000001", "male", "Asian", 25),
    ("000002", "female", "Asian", 29),
    ("000003", "male", "Asian", 30),
    ("000004", "female", "Asian", 58),
    ("000005", "male", "Asian", 60),
    ("000006", "female", "Asian", 60),
    ("000007", "male", "Asian", 18),
    ("000008", "female", "Asian", 19),
    ("000009", "male", "Asian", 40),
    ("000010", "female", "Asian", 41),
    ("000011", "male", "Asian", 60),
    ("000012", "female", "Asian", 60),
)


def write_photo(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_rows(path, columns, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def write_mask_contest(root, people=PEOPLE, test_count=3):
    """Seven photos of every person, three of them with other endings, and images to predict."""
    rows = []
    for seed, (name, gender, race, age) in enumerate(people):
        folder = f"{name}_{gender}_{race}_{age}"
        rows.append((name, gender, race, age, folder))
        for number, photo in enumerate(PHOTOS):
            suffix = (".jpg", ".png", ".jpeg")[number % 3]
            write_photo(root / "train" / "images" / folder / f"{photo}{suffix}", seed * 7 + number)
        (root / "train" / "images" / folder / f"._{PHOTOS[0]}.jpg").write_bytes(b"of macOS")
    write_rows(root / "train" / "train.csv", ("id", "gender", "race", "age", "path"), rows)
    for number in range(test_count):
        write_photo(root / "eval" / "images" / f"face{number}.jpg", number)
    write_rows(
        root / "eval" / "info.csv",
        ("ImageID", "ans"),
        [(f"face{number}.jpg", 0) for number in reversed(range(test_count))],
    )
    return root
