"""timm's train and inference steps in torch."""

import time
from typing import Any

import numpy as np

from sides.case import Case, Side, random_batch


def prepare_timm(case: Case, channels_last: bool) -> Side:
    """timm's model and optimizer in torch, as its scripts run them."""
    import timm
    import timm.optim
    import torch

    from sketch_jax.data.options import usable_cores

    on_gpu = torch.cuda.is_available()
    torch.set_num_threads(usable_cores())
    device = torch.device("cuda" if on_gpu else "cpu")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model: Any = timm.create_model(case.model, num_classes=case.classes, **_timm_size(case), **case.arguments)
    model = model.to(device=device, memory_format=layout)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(case.trained is None or name in case.trained)
    images, labels = random_batch(case)
    inputs = torch.tensor(images, device=device).permute(0, 3, 1, 2).float().div(255.0).sub(0.5).div(0.25)
    inputs = inputs.contiguous(memory_format=layout)
    targets = torch.tensor(labels.astype(np.int64), device=device)
    runnable: Any = torch.compile(model) if on_gpu else model
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = timm.optim.create_optimizer_v2(model, opt="adamw", lr=1e-4, weight_decay=0.05)

    def train_once() -> Any:
        with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
            loss = criterion(runnable(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def infer_once() -> Any:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
            return runnable(inputs)

    model.train(case.mode == "train")
    once = train_once if case.mode == "train" else infer_once

    def block() -> None:
        result = None
        for _ in range(case.steps):
            result = once()
        assert result is not None
        assert bool(torch.isfinite(result).all())

    began = time.perf_counter()
    once()
    facts = {
        "system": "timm",
        "versions": {"timm": timm.__version__, "torch": torch.__version__},
        "device": torch.cuda.get_device_name() if on_gpu else f"cpu, {torch.get_num_threads()} threads",
        "dtype": "bfloat16" if on_gpu else "float32",
        "layout": "channels_last" if channels_last else "contiguous",
        "first_step_seconds": round(time.perf_counter() - began, 2),
    }
    return Side(block, facts)


def _timm_size(case: Case) -> dict[str, int]:
    takes_size = any(part in case.model for part in ("vit", "deit", "eva", "swin", "beit", "coat", "max"))
    return {"img_size": case.image_size} if takes_size else {}
