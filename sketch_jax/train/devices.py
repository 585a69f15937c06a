"""Peak speed of known devices, the denominator of MFU (model FLOP/s utilisation)."""

import re
from typing import NamedTuple

SLICED = re.compile(r"\b(Laptop|Max-Q|MIG)\b")
"""Variants that share a name with a faster device."""


class Peak(NamedTuple):
    """Dense matrix products, teraFLOP/s, without the doubling that sparsity is advertised with."""

    bfloat16: float | None
    float32: float | None


PEAKS = {
    r"B200": Peak(2250.0, 1125.0),
    r"GH200|H200|H100 80GB HBM3|H100 SXM\w*": Peak(989.4, 494.7),
    r"H100 NVL": Peak(835.5, 417.5),
    r"H100 PCIe": Peak(756.0, 378.0),
    r"A100": Peak(312.0, 156.0),
    r"L40S": Peak(362.1, 183.0),
    r"L4": Peak(121.0, 60.0),
    r"RTX 4090": Peak(165.2, 82.6),
    r"RTX 3090": Peak(71.0, 35.6),
    r"V100-PCIE": Peak(None, 14.0),
    r"V100": Peak(None, 15.7),
    r"T4": Peak(None, 8.1),
    r"TPU v6( lite|e)": Peak(918.0, None),
    r"TPU v5( lite|e)": Peak(197.0, None),
    r"TPU v5p?": Peak(459.0, None),
    r"TPU v4": Peak(275.0, None),
    r"TPU v3": Peak(61.5, None),
    r"TPU v2": Peak(22.5, None),
}


def device_peak_flops(device_kind: str, dtype: str) -> float | None:
    """Floating-point operations a second that a device can do at best in dense matrix products.

    For float32 that of TF32, which jax uses by default where the device has it. V100 and T4 have no bfloat16
    units. On TPU v2 and v3 a jax device is one of the two cores of a chip.

    Args:
        device_kind: `jax.Device.device_kind`.
        dtype: type of the factors, `bfloat16` or `float32`; sums are float32.

    Returns:
        None where it is not known.

    References:
        NVIDIA's data sheets of B200, H200, H100, A100, L40S, L4, V100 and T4; its white papers on GA102
        (RTX 3090) and Ada (RTX 4090), at float32 accumulation; Google Cloud's page on each TPU version.

    >>> device_peak_flops("NVIDIA A100-SXM4-40GB", "bfloat16")
    312000000000000.0
    >>> device_peak_flops("cpu", "float32")
    """
    if SLICED.search(device_kind):
        return None
    for name, peak in PEAKS.items():
        if re.search(rf"\b({name})\b", device_kind):
            teraflops = {"bfloat16": peak.bfloat16, "float32": peak.float32}.get(dtype)
            return None if teraflops is None else teraflops * 1e12
    return None
