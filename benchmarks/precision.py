"""Rounding errors of logits and gradients on this device, ours and timm's, against timm in double precision.

    python benchmarks/precision.py [NAME …] [--output FILE]

Every parameter is random. Ours computes in float32 (full precision products) and bfloat16; timm on the same
device in float32 and, on a GPU, under bfloat16 autocast, as its training scripts do. Prints a JSON line a
model: `logits` is |error| / |logits|, `gradients` the median of that ratio over tensors whose gradient does
not vanish, in 2-norms; `largest` the largest difference of a logit. Exits with 1 where float32 is off by more
than 1e-4 (logits) or 1e-3 (gradients).
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import timm
import torch
from jax import numpy as jnp

from convert.parity import create_ours, draw_inputs, fit_ours
from convert.reference import Inputs, Setting, build, choose_setting, state_of
from sketch_jax.weights.names import to_timm

MODELS = (
    *("vit_tiny_patch16_224", "deit3_small_patch16_224", "eva02_tiny_patch14_224", "convnext_atto"),
    *("coatnet_nano_rw_224", "swinv2_tiny_window8_256", "efficientnet_b0", "mobilenetv2_100", "resnet18"),
    *("regnety_004", "caformer_s18", "beit_base_patch16_224", "mobilevit_xs", "nfnet_l0"),
)
"""A small model of every family."""

Values = Mapping[str, np.ndarray]


def torch_values(model: Any, inputs: Inputs, device: str, dtype: torch.dtype, autocast: bool) -> Values:
    """Logits, and gradients of their weighted sum by timm's names, float64."""
    model = model.to(device=device, dtype=dtype)
    images = torch.from_numpy(np.ascontiguousarray(inputs.images.transpose(0, 3, 1, 2))).to(device, dtype)
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        logits = model(images)
    total = (logits * torch.from_numpy(inputs.cotangents).to(device, logits.dtype)).sum()
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(total, list(parameters.values()), materialize_grads=True)
    named = {"logits": logits, **dict(zip(parameters, gradients, strict=True))}
    return {name: value.detach().double().cpu().numpy() for name, value in named.items()}


def our_values(setting: Setting, state: Values, inputs: Inputs, dtype: Any) -> Values:
    """The same of our model."""
    model = create_ours(setting, dtype)
    params, statistics = fit_ours(model, None, state)
    key = jax.random.key(0)

    def objective(params: Any, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
        features, _ = model.read_features(params, statistics, inputs.images, key, False)
        logits = model.head(params, features, key, False)
        return (logits * inputs.cotangents).sum(), logits

    with jax.default_matmul_precision("highest" if dtype == jnp.float32 else "default"):
        gradients, logits = jax.jit(jax.grad(objective, has_aux=True))(params, inputs)
    named = {"logits": np.asarray(logits), **to_timm(gradients, {})}
    return {name: value.astype(np.float64) for name, value in named.items()}


def errors(exact: Values, found: Values) -> dict[str, float]:
    """How far values are from exact ones; gradients that vanish are left out."""
    sizes = {name: float(np.linalg.norm(value)) for name, value in exact.items()}
    least = 1e-3 * max(size for name, size in sizes.items() if name != "logits")
    ratios = {
        name: float(np.linalg.norm(found[name] - exact[name])) / size
        for name, size in sizes.items()
        if size > least or name == "logits"
    }
    return {
        "logits": ratios.pop("logits"),
        "gradients": float(np.median(list(ratios.values()))),
        "largest": float(np.abs(found["logits"] - exact["logits"]).max()),
    }


def compare(name: str) -> dict[str, Any]:
    """The JSON line of a model."""
    setting = choose_setting(name, {}, {}, None)
    inputs = draw_inputs(setting.image_size, 4, setting.class_count, 0)
    model = build(setting, None, draw_inputs(setting.image_size, 4, setting.class_count, 1).images, 0)
    state = state_of(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    exact = torch_values(model, inputs, "cpu", torch.float64, False)
    theirs = {"float32": torch_values(model, inputs, device, torch.float32, False)}
    if device == "cuda":
        theirs["bfloat16"] = torch_values(model, inputs, device, torch.float32, True)
    ours = {
        jnp.dtype(dtype).name: our_values(setting, state, inputs, dtype)
        for dtype in (jnp.float32, jnp.bfloat16)
    }
    line: dict[str, Any] = {"model": name, "device": jax.devices()[0].device_kind}
    for system, found in (("sketch_jax", ours), ("timm", theirs)):
        line[system] = {
            dtype: {quantity: float(f"{error:.3g}") for quantity, error in errors(exact, values).items()}
            for dtype, values in found.items()
        }
    return line


def main() -> int:
    """Prints the lines; returns 1 where float32 is outside the tolerance."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="timm's architectures; without any, one a family"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON lines are appended here too")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    failed = []
    for name in options.names or MODELS:
        line = compare(name)
        text = json.dumps(
            line
            | {"versions": {"jax": jax.__version__, "torch": torch.__version__, "timm": timm.__version__}}
        )
        print(text, flush=True)
        if options.output is not None:
            with options.output.open("a") as file:
                file.write(text + "\n")
        exactly = line["sketch_jax"]["float32"]
        if not (exactly["logits"] <= 1e-4 and exactly["gradients"] <= 1e-3):
            failed.append(name)
    print(f"float32 outside the tolerance: {', '.join(failed) or 'none'}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
