"""The recipe of configs/quickdraw.py in timm + torch: what a user of timm would write, to compare whole runs.

    python benchmarks/finetune_timm.py --data DIR --weights local-dir:PATH --image-size 96 --epochs 10

Reads a contest folder (train.csv, test.csv), decodes and augments in DataLoader workers, trains with AdamW,
writes submission.csv, and prints one JSON line with the seconds from start to end.
"""

import argparse
import csv
import json
import math
import time
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()

import timm  # noqa: E402
import timm.optim  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torchvision import transforms  # noqa: E402


class Drawings(torch.utils.data.Dataset):
    """Images of a table, transformed."""

    def __init__(self, files: list[Path], targets: list[int], transform: Any):
        self.files, self.targets, self.transform = files, targets, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), self.targets[index]


def transforms_of(image_size: int, train: bool) -> Any:
    """The recipe's transforms: squash, then h-flip and an affine map with white fill in training."""
    resize = [transforms.Resize((image_size, image_size), transforms.InterpolationMode.BICUBIC)]
    moves = [
        transforms.RandomHorizontalFlip(),
        transforms.RandomAffine(
            15, (0.1, 0.1), (0.8, 1.2), interpolation=transforms.InterpolationMode.BILINEAR, fill=255
        ),
    ]
    normalise = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    return transforms.Compose(resize + (moves if train else []) + normalise)


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up, then half a cosine to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def train(model: Any, loader: Any, epochs: int) -> None:
    """AdamW 1e-3, weight decay 0.05, smoothing 0.1, warm-up of a tenth."""
    optimizer = timm.optim.create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    steps, step = epochs * len(loader), 0
    model.train()
    for _ in range(epochs):
        for images, targets in loader:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, steps // 10, 1e-3)
            loss = criterion(model(images.contiguous(memory_format=torch.channels_last)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1


def answers(model: Any, loader: Any) -> list[int]:
    """Class of the largest logit of each image."""
    model.eval()
    with torch.inference_mode():
        return [index for images, _ in loader for index in model(images).argmax(-1).tolist()]


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a csv."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Trains, predicts, writes the submission, prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the training rows left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("submission_timm.csv"))
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    rows, test_rows = read_table(options.data / "train.csv"), read_table(options.data / "test.csv")
    kept = torch.randperm(len(rows))[: round(len(rows) * (1 - options.held_out))].tolist()
    files = [options.data / "train" / rows[index]["image_path"] for index in kept]
    targets = [int(rows[index]["target"]) for index in kept]
    test_files = [options.data / "test" / row["image_path"] for row in test_rows]
    loading = {"batch_size": options.batch_size, "num_workers": options.workers}
    loader = torch.utils.data.DataLoader(
        Drawings(files, targets, transforms_of(options.image_size, True)),
        shuffle=True,
        drop_last=True,
        persistent_workers=options.workers > 0,
        **loading,
    )
    test_loader = torch.utils.data.DataLoader(
        Drawings(test_files, [0] * len(test_files), transforms_of(options.image_size, False)), **loading
    )
    classes = len({row["target"] for row in rows})
    model = timm.create_model(options.weights, pretrained=True, num_classes=classes)
    model = model.to(memory_format=torch.channels_last)
    train(model, loader, options.epochs)
    with options.output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ID", "image_path", "target"])
        for index, (row, target) in enumerate(zip(test_rows, answers(model, test_loader), strict=True)):
            writer.writerow([index, row["image_path"], target])
    seconds = time.perf_counter() - BEGAN
    print(json.dumps({"system": "timm", "seconds": round(seconds, 1), "train_images": len(kept)}))


if __name__ == "__main__":
    main()
