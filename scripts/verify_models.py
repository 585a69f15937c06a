"""Compares architectures at full size with timm's, one after another, and keeps the figures.

    python scripts/verify_models.py            # what docs/verified.jsonl does not have yet
    python scripts/verify_models.py NAME …     # these, again

Each is a process of its own (`python -m convert verify NAME`), so that memory is given back. A line of
docs/verified.jsonl is replaced when its architecture is measured again, and removed when it fails. Ends with
the worst figures.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "docs" / "verified.jsonl"

VARIANTS = (
    *("vit_base_patch16_224", "vit_base_patch16_clip_224", "vit_mediumd_patch16_reg4_gap_256"),
    *("vit_base_patch16_siglip_224", "vit_small_patch14_dinov2", "vit_small_patch16_18x2_224"),
    *("vit_so400m_patch14_siglip_224", "vit_base_patch16_rpn_224", "aimv2_large_patch14_224"),
    *("deit3_base_patch16_224", "deit3_large_patch16_224", "deit_tiny_distilled_patch16_224"),
    *("eva02_tiny_patch14_336", "eva02_small_patch14_336", "eva02_base_patch14_224", "eva_large_patch14_196"),
    *("eva02_base_patch16_clip_224", "vit_small_patch16_dinov3", "vit_pe_core_tiny_patch16_384"),
    *("vit_small_patch16_rope_mixed_224", "vit_mediumd_patch16_rope_reg1_gap_256"),
    *("efficientnet_b0", "efficientnet_b3", "tf_efficientnet_b0", "tf_efficientnetv2_s", "mobilenetv2_100"),
    *("mixnet_s", "tinynet_a", "efficientnet_lite0", "mnasnet_100", "efficientnet_es"),
    *("resnet18", "resnet34", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "seresnet50", "resnetaa50"),
    *("resnetrs50", "resnetblur50", "resnet50_gn", "ecaresnet50d", "ecaresnet50d_pruned"),
    *("gc_efficientnetv2_rw_t", "test_efficientnet_ln", "test_efficientnet_evos"),
    *("convnext_atto", "convnext_small", "convnextv2_atto", "convnext_zepto_rms_ols", "test_convnext"),
    *("coatnet_bn_0_rw_224", "coatnet_rmlp_2_rw_224", "coatnet_3_rw_224", "coatnext_nano_rw_224"),
    *("maxvit_tiny_tf_224", "maxvit_rmlp_pico_rw_256", "maxxvit_rmlp_nano_rw_256", "test_coatnet"),
    *("swinv2_tiny_window8_256", "swinv2_small_window16_256", "swin_tiny_patch4_window7_224"),
    *("swin_s3_tiny_224", "beit_base_patch16_224", "beitv2_base_patch16_224"),
    *("regnetx_002", "regnety_002", "regnetz_005", "regnetv_040", "vgg11", "vgg16_bn", "vgg16"),
    *("nfnet_l0", "dm_nfnet_f0", "nf_resnet50", "nf_regnet_b1", "eca_nfnet_l0", "test_nfnet"),
    *("poolformer_s12", "poolformerv2_s12", "convformer_s18", "caformer_s18", "caformer_b36"),
    *("mobilevit_xxs", "mobilevit_s", "mobilevitv2_050"),
    *("test_vit", "test_resnet"),
)
"""At least one architecture of every family and variant."""


def main() -> int:
    """Measures; returns 0 when everything is within the tolerances of `convert verify`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="timm's architectures")
    names = parser.parse_args().names
    results = read_results()
    left = names or [name for name in VARIANTS if name not in results]
    failed, began = [], time.monotonic()
    for count, name in enumerate(left):
        pace = (time.monotonic() - began) / max(count, 1)
        remaining = f", {pace * (len(left) - count):.0f} s left" if count else ""
        print(f"{count + 1}/{len(left)} {name}{remaining}", file=sys.stderr)
        command = [sys.executable, "-m", "convert", "verify", name]
        done = subprocess.run(command, capture_output=True, text=True, cwd=RESULTS.parents[1])
        if done.returncode:
            failed.append(name)
            results.pop(name, None)
            write_results(results)
            print(f"{name}: exit code {done.returncode}: {done.stdout}{done.stderr[-2000:]}", file=sys.stderr)
            continue
        results[name] = json.loads(done.stdout)
        write_results(results)
    print_worst(results)
    print(json.dumps({"verified": len(results), "failed": failed}))
    return 1 if failed else 0


def read_results() -> dict[str, Mapping[str, Any]]:
    """Results by architecture."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    return {result["name"]: result for result in map(json.loads, lines)}


def write_results(results: Mapping[str, Mapping[str, Any]]) -> None:
    """One line an architecture, in alphabetical order."""
    lines = [f"{json.dumps(results[name])}\n" for name in sorted(results)]
    RESULTS.write_text("".join(lines), encoding="utf-8")


def print_worst(results: Mapping[str, Mapping[str, Any]]) -> None:
    """The largest difference of each kind, and whose it is."""
    if not results:
        return
    for quantity in ("max_abs_features", "max_abs_logits", "max_rel_gradient", "max_abs_statistics"):
        name = max(results, key=lambda name: results[name][quantity])
        print(f"{quantity}: {results[name][quantity]:.2e} ({name})")


if __name__ == "__main__":
    sys.exit(main())
