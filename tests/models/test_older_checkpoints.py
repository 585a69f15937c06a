"""Checkpoints in older layouts: names and bits are those that timm's own filters give."""

import functools
import re

import numpy as np
import pytest
from transformer_cases import CASES, EVA_CASES, SIZE

from sketch_jax.models.architectures import create_model
from sketch_jax.weights.names import to_flax, to_timm

timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
CLASSES = 7

CLIP = {
    r"patch_embed\.proj": "conv1",
    "pos_embed": "positional_embedding",
    r"blocks\.": "transformer.resblocks.",
    "norm_pre": "ln_pre",
    r"^norm\.": "ln_post.",
    r"(?<=\d)\.norm(\d)": r".ln_\1",
    r"attn\.qkv\.": "attn.in_proj_",
    r"attn\.proj": "attn.out_proj",
    r"mlp\.fc1": "mlp.c_fc",
    r"mlp\.fc2": "mlp.c_proj",
}
PERCEPTION = CLIP | {
    r"gamma_(\d)": r"ls_\1.gamma",
    r"attn_pool\.norm": "attn_pool.layernorm",
    r"attn_pool\.latent": "attn_pool.probe",
    r"attn_pool\.proj": "attn_pool.attn.out_proj",
}
DINOV2 = {r"mlp\.fc1": "mlp.w12", r"mlp\.fc2": "mlp.w3"}
DINOV3 = {r"gamma_(\d)": r"ls\1.gamma", "reg_token": "storage_tokens"}
AIMV2 = {
    r"^norm\.": "post_trunk_norm.",
    r"^blocks\.": "trunk.blocks.",
    r"norm(\d)": r"norm_\1",
    r"patch_embed\.": "preprocessor.patchifier.",
    "pos_embed": "preprocessor.pos_embed",
    "fc1_g": "fc1",
    "fc1_x": "fc3",
}
BEIT3 = {
    r"^cls_token": "beit3.vision_embed.cls_token",
    r"^patch_embed\.": "beit3.vision_embed.",
    r"mlp\.norm\.": "ffn.A.ffn_layernorm.",
    r"mlp\.": "ffn.A.",
    r"attn\.norm\.": "self_attn.inner_attn_ln.A.",
    r"attn\.proj\.": "self_attn.out_proj.A.",
    r"\.norm1\.": ".self_attn_layer_norm.A.",
    r"\.norm2\.": ".final_layer_norm.A.",
    r"^blocks\.": "beit3.encoder.layers.",
}
RADIO = {r"^blocks\.(\d+)\.ls(\d)\.gamma": r"blocks.\1.ls\2.grandma"}
EVA02 = {
    r"mlp\.norm": "mlp.ffn_ln",
    r"attn\.norm": "attn.inner_attn_ln",
    r"mlp\.fc1_g": "mlp.w1",
    r"mlp\.fc1_x": "mlp.w2",
    r"(?<=mlp)\.fc2": ".w3",
    r"([qv])_proj\.bias": r"\1_bias",
}
SAPIENS2 = {
    "reg_token": "storage_tokens",
    r"patch_embed\.proj\.": "patch_embed.projection.",
    r"([qkv])_proj\.": r"w\1.",
    "gamma_1": "attn.gamma.weight",
    r"\.mlp\.fc1\.": ".ffn.w12.",
    r"\.mlp\.fc2\.": ".ffn.w3.",
    r"\.norm(\d)\.": r".ln\1.",
    r"^norm\.": "ln1.",
}


def renamed(state, rules, prefix=""):
    def old(name):
        return prefix + functools.reduce(lambda name, rule: re.sub(*rule, name), rules.items(), name)

    return {old(name): tensor for name, tensor in state.items()}


def clip(state, rules=CLIP):
    old = renamed(state, rules)
    if "head.weight" in old:
        old["proj"] = old.pop("head.weight").T
        del old["head.bias"]
    if "cls_token" in old:
        old["class_embedding"] = old.pop("cls_token")[0, 0]
    return {**old, "positional_embedding": old["positional_embedding"][0]}


def under(old, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in old.items()}


def perception(state):
    old = clip(state, PERCEPTION)
    for kind in ("weight", "bias"):
        if f"attn_pool.q.{kind}" in old:
            parts = [old.pop(f"attn_pool.{part}.{kind}") for part in ("q", "kv")]
            old[f"attn_pool.attn.in_proj_{kind}"] = torch.cat(parts)
    return old


def dinov2(state):
    old = renamed(state, DINOV2) | {"mask_token": torch.zeros(1, state["cls_token"].shape[-1])}
    if "reg_token" in old:
        old["register_tokens"] = old.pop("reg_token")
        old["pos_embed"] = torch.cat([torch.randn_like(old["cls_token"]), old["pos_embed"]], 1)
    return old


def beit3(state):
    old = renamed(state, BEIT3)
    for name in list(old):
        if ".qkv." in name:
            before, kind = name.replace("attn.", "self_attn.").split("qkv.")
            old |= {
                f"{before}{part}_proj.A.{kind}": tensor
                for part, tensor in zip("qkv", old.pop(name).chunk(3), strict=True)
            }
    positions = old.pop("pos_embed")[0]
    branch_b = {name.replace(".A.", ".B."): tensor + 1 for name, tensor in old.items() if ".A." in name}
    others = {
        "beit3.encoder.embed_positions.A.weight": torch.cat([torch.zeros_like(positions[:2]), positions]),
        "beit3.text_embed.weight": torch.zeros(3, 4),
        "beit3.vision_embed.mask_token": torch.zeros(1, 1, 4),
    }
    return old | branch_b | others


def radio(state):
    old = renamed(state, RADIO)
    kernel = old.pop("patch_embed.proj.weight")
    del old["patch_embed.proj.bias"]
    old["patch_generator.embedder.weight"] = kernel.flatten(1)
    old["patch_generator.pos_embed"] = old.pop("pos_embed")
    tokens = torch.cat([old.pop("cls_token"), old.pop("reg_token")], 1)[0]
    old["patch_generator.cls_token.token"] = tokens
    return under(old, "radio_model.model.") | {"radio_model.input_conditioner.norm_mean": torch.zeros(3)}


def older_timm(state):
    flat = {"patch_embed.proj.weight": state["patch_embed.proj.weight"].flatten(1)}
    return state | flat | {"pre_logits.fc.weight": torch.zeros(4, 4)}


def trunk(state):
    tower = {name: tensor for name, tensor in state.items() if not name.startswith("head")}
    projection = {"visual.head.proj.weight": state["head.weight"]}
    return under(tower, "visual.trunk.") | projection | {"text.proj": torch.zeros(2, 2)}


def with_positions(state):
    return state | {f"blocks.{block}.attn.rope.freqs_cos": torch.zeros(3) for block in range(2)}


def masked(state):
    old = renamed(with_positions(state), EVA02)
    pretrained = {
        "mask_token": torch.zeros(1),
        "lm_head.weight": torch.zeros(3, 4),
        "lm_head.bias": torch.zeros(3),
    }
    norms = {f"norm.{kind}": old.pop(f"fc_norm.{kind}") for kind in ("weight", "bias")}
    return old | pretrained | norms


def dinov3(state, biases=True):
    old = renamed(state, DINOV3)
    for name in [name for name in old if name.endswith("qkv.weight")] if biases else []:
        before = name.removesuffix("qkv.weight")
        parts = [old.pop(f"{before}{part}_bias", torch.zeros(old[name].shape[1])) for part in "qv"]
        old[f"{before}qkv.bias"] = torch.cat([parts[0], torch.zeros_like(parts[0]), parts[1]])
        old[f"{before}qkv.bias_mask"] = torch.zeros(3)
    unused = ("rope_embed.periods", "mask_token", "local_cls_norm.weight", "projectors.0.weight")
    return old | {name: torch.zeros(3) for name in unused}


def sapiens2(state):
    return renamed(state, SAPIENS2) | {"mask_token": torch.zeros(3), "rope_embed.periods": torch.zeros(3)}


LAYOUTS = {
    "current": ("plain", dict),
    "older timm": ("plain", older_timm),
    "DeiT III": ("deit3", lambda state: renamed(state, {r"ls(\d)\.gamma": r"gamma_\1"})),
    "distilled": ("distilled", dict),
    "CLIP": (
        "clip_quick_gelu",
        lambda state: under(clip(state), "visual.") | {"logit_scale": torch.zeros(())},
    ),
    "CLIP in parallel": ("clip_quick_gelu", lambda state: under(clip(state), "module.visual.")),
    "OpenCLIP": ("plain", trunk),
    "OpenCLIP in parallel": ("siglip_map", lambda state: under(state, "module.visual.trunk.")),
    "DINOv2": ("plain", dinov2),
    "DINOv2 with registers": ("dinov2_swiglu_registers", dinov2),
    "TIPSv2": ("plain", lambda state: under(dinov2(state), "vision_encoder.") | {"text.x": torch.zeros(2)}),
    "AIMv2": ("aimv2_swiglu_rms", lambda state: renamed(state, AIMV2)),
    "BEiT-3": ("beit3_scale_norms", beit3),
    "RADIO": ("radio_refined_token", radio),
}
"""Layout -> kind of model, and the way from timm's current state."""

EVA_LAYOUTS = {
    "current": ("eva02_normed", with_positions),
    "learnt frequencies": ("rope_mixed", dict),
    "EVA": ("eva", masked),
    "EVA-02": ("eva02_normed", masked),
    "EVA-02 CLIP": ("eva02_clip", lambda state: renamed(with_positions(state), EVA02, "visual.")),
    "OpenCLIP": ("eva02_clip", lambda state: under(with_positions(state), "visual.trunk.")),
    "Perception Encoder": ("perception_core", lambda state: under(perception(state), "visual.")),
    "Perception Encoder alone": ("perception_spatial", perception),
    "DINOv3": ("dinov3", dinov3),
    "DINOv3 with biases": ("dinov3_biases", dinov3),
    "DINOv3 with gates": ("dinov3_gates", functools.partial(dinov3, biases=False)),
    "Sapiens2": ("sapiens2_grouped", sapiens2),
}
"""As LAYOUTS, of the EVA family."""


def create(name, arguments):
    """Our model and timm's, every parameter random."""
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=CLASSES, img_size=SIZE, **arguments)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    return create_model(name, arguments=arguments, class_count=CLASSES, image_size=SIZE), theirs


def assert_same_as_timms(cases, kind, age, filter_like_timm):
    name, arguments = cases[kind]
    model, theirs = create(name, arguments)
    state = dict(theirs.state_dict())
    old = age(state)
    expected = filter_like_timm(dict(old), theirs)
    tensors = {key: tensor.numpy() for key, tensor in old.items()}
    assert to_timm(*to_flax(tensors)).keys() == tensors.keys(), "a conversion before the run keeps old names"
    ours = model.filter_checkpoint(tensors)
    assert ours.keys() == expected.keys()
    missing = state.keys() - expected.keys()
    assert missing <= {"head.weight", "head.bias"}, "a layout that does not become the model's proves nothing"
    assert expected.keys() <= state.keys()
    for key, tensor in expected.items():
        assert tensor.shape == state[key].shape, key
        np.testing.assert_array_equal(ours[key], tensor.numpy(), err_msg=key)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_vision_transformer_of_an_older_layout_becomes_what_timm_makes_of_it(layout):
    from timm.models.vision_transformer import checkpoint_filter_fn

    kind, age = LAYOUTS[layout]
    change = functools.partial(checkpoint_filter_fn, adapt_layer_scale=kind == "deit3")
    assert_same_as_timms(CASES, kind, age, change)


@pytest.mark.parametrize("layout", EVA_LAYOUTS)
def test_an_eva_of_an_older_layout_becomes_what_timm_makes_of_it(layout):
    from timm.models.eva import checkpoint_filter_fn

    assert_same_as_timms(EVA_CASES, *EVA_LAYOUTS[layout], checkpoint_filter_fn)
