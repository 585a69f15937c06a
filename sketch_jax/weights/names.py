"""Names and layouts: the two-way rules between timm's state dicts and our parameter trees.

| timm                                      | here                                     |
|-------------------------------------------|------------------------------------------|
| `blocks.3.attn.qkv.weight` [out, in]      | `blocks_3/attn/qkv/kernel` [in, out]     |
| `layer1.0.conv1.weight` [out, in, h, w]   | `layer1_0/conv1/kernel` [h, w, in, out]  |
| `norm.weight` [width], `norm.bias`        | `norm/scale`, `norm/bias`                |
| `bn1.running_mean`, `bn1.running_var`     | statistics `bn1/mean`, `bn1/var`         |
| `bn1.num_batches_tracked`                 | none: a counter, written as 0            |
| `cls_token`, `blocks.0.gamma_1`, …        | the same name and shape                  |

Two kinds of names would be ambiguous and get one more underscore: a module of timm's that itself ends in
`_<digits>` (`conv2_1` is `conv2__1`, while `conv2.1` is `conv2_1`), and a parameter that timm itself calls
`scale` or `kernel` (`res_scale1.scale` is `res_scale1/scale_`). So no table of models
is needed, and the rules hold both ways for every name in timm.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from sketch_jax.trees import Tree, flatten, unflatten

COUNTER = "num_batches_tracked"
STATISTICS = {"running_mean": "mean", "running_var": "var"}
TIMM_STATISTICS = {here: timm for timm, here in STATISTICS.items()}

_LIST_ENTRY = re.compile(r"(.*[^_])_(\d+)")
_ENDS_LIKE_ENTRY = re.compile(r"_(\d+)$")
_ENDS_ESCAPED = re.compile(r"__(\d+)$")
_TAKEN_LEAF = re.compile(r"(kernel|scale)_*")


def flax_path(name: str, dimensions: int) -> str:
    """Our path of a parameter that timm calls `name`.

    Args:
        name: a name of timm's state dict that is no running statistic.
        dimensions: number of axes of the tensor; tells kernels from scales.

    >>> flax_path("layer1.0.downsample.0.weight", 4)
    'layer1_0/downsample_0/kernel'
    >>> flax_path("stages.2.res_scale1.scale", 1)
    'stages_2/res_scale1/scale_'
    """
    *modules, leaf = name.split(".")
    return "/".join([*_merge_indices(modules), _flax_leaf(leaf, dimensions)])


def timm_name(path: str) -> str:
    """The name in timm of the parameter at our `path`; the inverse of `flax_path`.

    >>> timm_name("layer1_0/downsample_0/kernel")
    'layer1.0.downsample.0.weight'
    >>> timm_name("blocks_3/gamma_1")
    'blocks.3.gamma_1'
    """
    *modules, leaf = path.split("/")
    return ".".join([*map(_timm_module, modules), _timm_leaf(leaf)])


def statistic_path(name: str) -> str:
    """Our path, in the tree of statistics, of a running statistic of timm's.

    >>> statistic_path("blocks.0.0.bn1.running_var")
    'blocks_0_0/bn1/var'
    """
    *modules, leaf = name.split(".")
    return "/".join([*_merge_indices(modules), STATISTICS[leaf]])


def timm_statistic_name(path: str) -> str:
    """The name in timm of the statistic at our `path`; the inverse of `statistic_path`.

    >>> timm_statistic_name("blocks_0_0/bn1/var")
    'blocks.0.0.bn1.running_var'
    """
    *modules, leaf = path.split("/")
    return ".".join([*map(_timm_module, modules), TIMM_STATISTICS[leaf]])


def timm_axes(path: str, dimensions: int) -> tuple[int, ...]:
    """The order of our axes that gives timm's layout of the parameter at `path`.

    >>> timm_axes("conv_stem/kernel", 4)
    (3, 2, 0, 1)
    >>> timm_axes("pos_embed", 3)
    (0, 1, 2)
    """
    if path.rpartition("/")[2] != "kernel":
        return tuple(range(dimensions))
    return (dimensions - 1, dimensions - 2, *range(dimensions - 2))


def to_flax(tensors: Mapping[str, Any]) -> tuple[Tree, Tree]:
    """Parameters and statistics from a state dict of timm's.

    Args:
        tensors: arrays by timm's names; every item is read once, and the results are views of it.
    """
    params: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    for name, tensor in tensors.items():
        leaf = name.rpartition(".")[2]
        if leaf in STATISTICS:
            statistics[statistic_path(name)] = tensor
        elif leaf != COUNTER:
            params[flax_path(name, tensor.ndim)] = _flax_layout(leaf, tensor)
    return unflatten(params), unflatten(statistics)


def to_timm(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The state dict of timm's from parameters and statistics: complete enough for a strict load.

    Arrays on the host are not copied: the results are views in timm's layout.
    """
    tensors: dict[str, np.ndarray] = {}
    for path, leaf in flatten(params).items():
        tensors[timm_name(path)] = np.transpose(np.asarray(leaf), timm_axes(path, leaf.ndim))
    for path, leaf in flatten(statistics).items():
        name = timm_statistic_name(path)
        tensors[name] = np.asarray(leaf)
        module, _, kind = name.rpartition(".")
        if kind == "running_mean":
            tensors[f"{module}.{COUNTER}".lstrip(".")] = np.zeros((), np.int64)
    return tensors


def _merge_indices(modules: list[str]) -> list[str]:
    merged: list[str] = []
    for module in modules:
        if module.isdigit() and merged and not merged[-1].endswith("_"):
            merged[-1] += f"_{module}"
        else:
            merged.append(_ENDS_LIKE_ENTRY.sub(r"__\1", module))
    return merged


def _timm_module(component: str) -> str:
    indices: list[str] = []
    while entry := _LIST_ENTRY.fullmatch(component):
        component, index = entry.groups()
        indices.insert(0, index)
    return ".".join([_ENDS_ESCAPED.sub(r"_\1", component), *indices])


def _flax_leaf(leaf: str, dimensions: int) -> str:
    if leaf == "weight":
        return "kernel" if dimensions >= 2 else "scale"
    return f"{leaf}_" if _TAKEN_LEAF.fullmatch(leaf) else leaf


def _timm_leaf(leaf: str) -> str:
    if leaf in ("kernel", "scale"):
        return "weight"
    return leaf[:-1] if _TAKEN_LEAF.fullmatch(leaf) else leaf


def _flax_layout(leaf: str, tensor: Any) -> Any:
    if leaf != "weight" or tensor.ndim < 2:
        return tensor
    return np.transpose(tensor, (*range(2, tensor.ndim), 1, 0))
