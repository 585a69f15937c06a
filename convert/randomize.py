"""Random values for every parameter and statistic of a timm model, such that a comparison means something.

Values that start at zero or one (biases, norms, layer scales, tokens) would hide errors, so all are random.
But a random network can also magnify rounding until no tolerance holds, or forget its input. Hence:

- norms keep activations near size one, and residual branches are small beside what they are added to, as in a
  network at the start of its training: rounding then grows little with depth;
- what norms read is small, so that a wrong epsilon shows;
- in networks with ReLU the biases of batch norms lie well above zero. The gradient of a unit within rounding
  of the kink is the toss of a coin, and among millions of units some always are, unless few come near it;
- the classifier is centred and scaled so that logits differ from image to image and are of size one: of
  evaluation, or of training, where statistics of the batch may shift them by more than images differ. They
  are smaller where images differ by less than LEAST_SPREAD: sums that nearly cancel magnify rounding
  (vit_base_patch16_rpn_224: images differ by 1.6 %, timm's own float32 is 4e-5 off double precision).
"""

import copy
import functools
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

SPREAD = 0.3
"""Standard deviation of what is added to biases, scales, tokens and the like."""

DISTANCE_FROM_KINK = 3.0
"""Mean of a batch norm's biases where ReLU may follow, in standard deviations of its output."""

LEAST_VARIANCE = 0.1
"""Share of a layer's mean variance that its running variances have at least: less would magnify rounding."""

LEAST_SPREAD = 0.05
"""Share of the size of uncentred logits by which images differ where logits become of size one."""

SMALL = 0.05
"""Size of what norms read."""

KEPT_BY_RELU = 2**0.5
"""Size of kernels where there are no norms: outputs are then as large as inputs (He et al. 2015)."""

_NORMS = _BatchNorm | torch.nn.GroupNorm | torch.nn.LayerNorm

_READ_BY_NORMS = re.compile(r"pos_embed|_token$|\.proj\.|\.fc2\.")
_READ_BY_OTHERS = re.compile(
    r"\.se\.|\.se_early\.|\.attn(_last)?\.fc\d\.|\.qkv\.|\.fc1\.|\.shortcut\..*weight$"
)
"""Convolutions that activations, softmax or no norm at all read, as those on the way around a branch."""


@torch.no_grad()
def randomize(model: Any, images: torch.Tensor, generator: torch.Generator) -> None:
    """Draws all values anew, in place.

    Args:
        model: of timm; left in evaluation mode.
        images: [batch, 3, height, width], normalised; at least 2.
        generator: random stream.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in _ends_of_residual_branches(model):
        norm.weight.zero_()
    if any(isinstance(module, torch.nn.ReLU | torch.nn.ReLU6) for module in model.modules()):
        for norm in norms:
            norm.bias.fill_(DISTANCE_FROM_KINK if norm.weight.any() else 0.0)
    has_norms = any(isinstance(module, _NORMS) for module in model.modules())
    _draw_parameters(model, generator, small=SMALL if has_norms else KEPT_BY_RELU)
    draw = functools.partial(_draw_statistics, generator)
    hooks = [norm.register_forward_pre_hook(draw) for norm in norms]
    model.eval()(images)
    for hook in hooks:
        hook.remove()
    _scale_classifier(model, images, trains=bool(norms))


@torch.no_grad()
def randomize_classifier(model: Any, images: torch.Tensor, generator: torch.Generator) -> None:
    """Draws the classifier alone anew, for weights that come without one; arguments as for `randomize`."""
    for part in _classifiers(model):
        _draw_parameters(part, generator)
    _scale_classifier(model, images, trains=False)


def _scale_classifier(model: Any, images: torch.Tensor, *, trains: bool) -> None:
    logits = model.eval()(images)
    mean = logits.mean(0)
    spread = (logits - mean).square().mean().sqrt().clamp_min(LEAST_SPREAD * logits.square().mean().sqrt())
    if trains:
        copied = copy.deepcopy(model)  # as training moves running statistics; dropout stays off
        for module in copied.modules():
            module.training = isinstance(module, _BatchNorm)
        spread = torch.maximum(spread, (copied(images) - mean).square().mean().sqrt())
    for part in _classifiers(model):
        part.bias.sub_(mean)
        for parameter in part.parameters():
            parameter.div_(spread)


def _classifiers(model: Any) -> Sequence[Any]:
    """The maps to logits; of a classifier of several parts the last."""
    classifier = model.get_classifier()
    classifiers = classifier if isinstance(classifier, tuple | list) else (classifier,)
    return [[part for part in whole.modules() if hasattr(part, "bias")][-1] for whole in classifiers]


def _ends_of_residual_branches(model: Any) -> Sequence[_BatchNorm]:
    """The last norms of EfficientNet's residual branches; timm starts those of ResNet at zero by itself."""
    blocks = [module for module in model.modules() if getattr(module, "has_skip", False)]
    return [[part for part in block.children() if isinstance(part, _BatchNorm)][-1] for block in blocks]


def _draw_parameters(model: Any, generator: torch.Generator, small: float = SMALL) -> None:
    for name, parameter in model.named_parameters():
        module = model.get_submodule(name.rpartition(".")[0])
        standardized = hasattr(module, "gain")  # of whatever size its kernel is, its outputs are of size one
        of_convolution = getattr(module, "weight", parameter).ndim == 4 and not standardized
        parameter.copy_(_random_value(name, parameter, of_convolution, small, generator))


def _random_value(
    name: str, start: torch.Tensor, of_convolution: bool, small: float, generator: torch.Generator
) -> torch.Tensor:
    noise = torch.randn(start.shape, generator=generator)
    is_small = of_convolution or _READ_BY_NORMS.search(name)
    size = small if is_small and not _READ_BY_OTHERS.search(name) else 1.0
    if name.rpartition(".")[2] == "weight" and start.ndim >= 2:
        return size * noise * (start.shape[0] / start.numel()) ** 0.5
    if of_convolution and name.endswith(".bias"):
        size = size**2  # or it drowns what small kernels make of small inputs
    return size * (start + SPREAD * noise)


def _draw_statistics(
    generator: torch.Generator, norm: _BatchNorm, arguments: tuple[torch.Tensor, ...]
) -> None:
    """Makes running statistics that differ from those of the input, yet keep the output near size one."""
    if norm.running_mean is None or norm.running_var is None:
        return
    variance, mean = torch.var_mean(arguments[0], (0, 2, 3))
    noise = torch.randn(mean.shape, generator=generator)
    factor = 0.5 + torch.rand(mean.shape, generator=generator)
    norm.running_mean.copy_(mean + SPREAD * noise * variance.sqrt())
    norm.running_var.copy_(factor * variance.clamp_min(LEAST_VARIANCE * variance.mean()))
