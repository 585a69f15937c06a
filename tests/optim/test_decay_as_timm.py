"""Which parameters decay, beside the groups that timm makes."""

import jax
import pytest

from sketch_jax.models.architectures import create_model
from sketch_jax.optim.treatments import is_decayed
from sketch_jax.trees import flatten
from sketch_jax.weights.names import timm_name

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")

NAMES = (
    *("test_vit", "deit_tiny_distilled_patch16_224", "eva02_tiny_patch14_336", "beitv2_base_patch16_224"),
    *("vit_pe_core_tiny_patch16_384", "vit_small_patch16_rope_mixed_224", "convnextv2_atto", "caformer_s18"),
    *("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "coatnet_rmlp_2_rw_224", "mobilevit_s"),
    *("coatnet_3_rw_224", "maxvit_tiny_tf_224", "nfnet_l0", "resnetrs50", "test_efficientnet_evos", "vgg11"),
)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_parameters_decay_as_in_timm(name):
    from timm.optim import param_groups_weight_decay

    with torch.device("meta"):
        reference = timm.create_model(name, num_classes=10)
    spared = reference.no_weight_decay() if hasattr(reference, "no_weight_decay") else ()
    names = {id(parameter): name for name, parameter in reference.named_parameters()}
    groups = param_groups_weight_decay(reference, 0.1, no_weight_decay_list=spared)
    theirs = {
        names[id(parameter)] for group in groups if group["weight_decay"] for parameter in group["params"]
    }
    side = reference.default_cfg["input_size"][-1]
    model = create_model(name, class_count=10, image_size=side)
    params = flatten(jax.eval_shape(model.init, jax.random.key(0))[0])
    assert {timm_name(path) for path, leaf in params.items() if is_decayed(path, leaf)} == theirs
