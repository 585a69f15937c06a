"""Single operations of a policy beside Pillow's, called as timm calls them."""

import itertools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image
from scipy import ndimage

from sketch_jax.augment.policies.apply import apply_policy, change_values, compose_maps, make_steps
from sketch_jax.augment.policies.draws import draw_policy
from sketch_jax.augment.policies.levels import GEOMETRIC_FROM, OPERATIONS
from sketch_jax.augment.policies.options import AugMix, RandAugment
from sketch_jax.augment.policies.repertoire import Layout, create_repertoire
from sketch_jax.augment.resample import warp

timm = pytest.importorskip("timm.data.auto_augment")

HEIGHT, WIDTH = 40, 56
EVERYTHING = Layout(chains=1, draws=1, blends=False, operations=frozenset(OPERATIONS[1:]))
VALUES = {
    "auto_contrast": ("AutoContrast", (0.0,)),
    "equalize": ("Equalize", (0.0,)),
    "invert": ("Invert", (0.0,)),
    "posterize": ("Posterize", (1.0, 3.0, 6.0, 8.0)),
    "solarize": ("Solarize", (0.0, 100.0, 128.0, 256.0)),
    "solarize_add": ("SolarizeAdd", (0.0, 33.0, 110.0)),
    "brightness": ("Brightness", (0.1, 0.7, 1.0, 1.9)),
    "contrast": ("Contrast", (0.1, 0.7, 1.0, 1.9)),
    "color": ("Color", (0.0, 0.4, 1.0, 1.9)),
    "sharpness": ("Sharpness", (0.1, 0.7, 1.0, 1.9)),
}
"""timm's name and the arguments that are compared."""
BLURS = [("blur", 1.0), ("blur", 2.0)]
CASES = [(name, value) for name, (_, values) in VALUES.items() for value in values] + BLURS
MAPS = {
    "rotate": ("Rotate", (30.0, -17.0)),
    "shear_x": ("ShearX", (0.3, -0.2)),
    "shear_y": ("ShearY", (0.3, -0.2)),
    "translate_x": ("TranslateXRel", (0.25, -0.1)),
    "translate_y": ("TranslateYRel", (0.25, -0.1)),
    "translate_x_pixels": ("TranslateX", (5.0, -32.0)),
    "translate_y_pixels": ("TranslateY", (5.0, -3.0)),
}


def pictures() -> np.ndarray:
    """A photograph-like one, a drawing on white paper, a grey one and one of little contrast."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    colours = np.stack([rows * 6, columns * 4, (rows + columns) * 2], -1) + generator.integers(
        0, 20, (HEIGHT, WIDTH, 3)
    )
    drawing = np.full((HEIGHT, WIDTH, 3), 255)
    drawing[8:30, 20:23] = drawing[20:22, 10:40] = (20, 20, 30)
    grey = np.broadcast_to(generator.integers(0, 256, (HEIGHT, WIDTH, 1)), (HEIGHT, WIDTH, 3))
    return np.stack([np.clip(colours, 0, 255), drawing, grey, 100 + colours // 8]).astype(np.uint8)


PICTURES = pictures()


def batch_of_cases():
    pairs = list(itertools.product(PICTURES, CASES))
    operations = jnp.asarray([[OPERATIONS.index(name)] for _, (name, _) in pairs])
    arguments = jnp.asarray([[value] for _, (_, value) in pairs], jnp.float32)
    return jnp.asarray(np.stack([picture for picture, _ in pairs])), operations, arguments


@pytest.fixture(scope="module")
def changed() -> np.ndarray:
    """[picture, case, ...]"""
    result = jax.jit(lambda *batch: change_values(*batch, EVERYTHING))(*batch_of_cases())
    return np.asarray(result).reshape(len(PICTURES), len(CASES), HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", VALUES)
def test_an_operation_on_values_is_pillows(changed, name):
    for place, (operation, value) in enumerate(CASES):
        if operation == name:
            function = timm.NAME_TO_OP[VALUES[name][0]]
            whole, none = ("posterize", "solarize", "solarize_add"), ("auto_contrast", "equalize", "invert")
            given = () if name in none else (int(value) if name in whole else value,)
            for picture, ours in zip(PICTURES, changed[:, place].astype(int), strict=True):
                expected = np.asarray(function(Image.fromarray(picture), *given), int)
                difference = np.abs(ours - expected)
                # Pillow stretches in floats that fall just short of whole numbers.
                mean = 1.0 if name == "auto_contrast" else 0.5
                assert difference.mean() <= mean, (value, difference.mean())
                assert difference.max() <= 1, (value, difference.max())


def test_a_blur_is_a_gaussian_where_pillows_is_three_boxes(changed):
    for place, (_, sigma) in enumerate(BLURS, start=len(CASES) - len(BLURS)):
        for picture, ours in zip(PICTURES, changed[:, place].astype(float), strict=True):
            expected = ndimage.gaussian_filter(picture.astype(float), (sigma, sigma, 0), mode="nearest")
            assert np.abs(ours - expected).mean() <= 0.5
            assert np.abs(ours - expected).max() <= 2.0


def test_all_images_at_once_and_one_after_another_come_out_alike(changed):
    steps = make_steps(EVERYTHING)
    together = jax.jit(jax.vmap(steps))(*batch_of_cases())
    difference = np.abs(np.asarray(together, int) - changed.reshape(-1, HEIGHT, WIDTH, 3))
    assert difference.max() <= 1
    assert difference.mean() < 1e-3


@pytest.mark.parametrize("name", MAPS)
def test_a_geometric_operation_is_pillows_with_paper_around(name):
    picture = PICTURES[1]
    timm_name, values = MAPS[name]
    matrices = compose_maps(
        jnp.full((len(values), 1), OPERATIONS.index(name)),
        jnp.asarray(values).reshape(-1, 1),
        (HEIGHT, WIDTH),
    )
    ours = 255.0 - np.asarray(warp(jnp.asarray(np.stack([255 - picture] * len(values))), matrices))
    for value, moved in zip(values, ours, strict=True):
        expected = timm.NAME_TO_OP[timm_name](
            Image.fromarray(picture), value, fillcolor=(255, 255, 255), resample=Image.Resampling.BILINEAR
        )
        assert np.abs(np.asarray(expected, float) - moved).mean() <= 0.5
        assert np.abs(np.asarray(expected, float) - moved).max() <= 2.0


def test_maps_of_a_chain_act_one_after_another():
    names, values = ("rotate", "translate_x", "equalize", "shear_y"), (20.0, 0.1, 0.0, 0.2)
    operations = jnp.asarray([[OPERATIONS.index(name) for name in names]])
    chain = compose_maps(operations, jnp.asarray([values]), (HEIGHT, WIDTH))
    place = np.array([4.0, -7.0, 1.0])
    sheared = place + np.array([0.2 * (place[1] + WIDTH / 2), 0, 0])
    shifted = sheared + np.array([0, 0.1 * WIDTH, 0])
    cosine, sine = np.cos(np.radians(20)), np.sin(np.radians(20))
    turned = [cosine * shifted[0] + sine * shifted[1], cosine * shifted[1] - sine * shifted[0], 1.0]
    np.testing.assert_allclose(np.asarray(chain[0]) @ place, turned, rtol=1e-5)


def test_what_comes_in_is_paper():
    black = jnp.full((1, HEIGHT, WIDTH, 3), 255, jnp.uint8)
    for name, (_, values) in MAPS.items():
        operations, arguments = jnp.full((1, 1), OPERATIONS.index(name)), jnp.full((1, 1), values[0])
        ink = warp(black, compose_maps(operations, arguments, (HEIGHT, WIDTH)))
        assert float(ink.min()) == 0.0


def apply(policy, read, count: int, key=None):
    layout, repertoire = create_repertoire([policy])
    one = jax.tree.map(lambda values: values[0], repertoire)
    key = jax.random.key(0) if key is None else key

    def run(key):
        ink = apply_policy(key, one, layout, count, (HEIGHT, WIDTH), read)
        return ink, draw_policy(key, one, layout, count)

    return *jax.tree.map(np.asarray, jax.jit(run)(key)), layout


def test_aug_mix_blends_its_chains_and_the_image_by_their_shares():
    pictures = jnp.asarray(PICTURES)

    def read(matrices):
        return (
            pictures
            if matrices is None
            else 255 - jnp.round(warp(255 - pictures, matrices)).astype(jnp.uint8)
        )

    ink, drawn, layout = apply(AugMix(width=2, depth=2), read, len(PICTURES))
    expected = (1 - drawn.shares.sum(1)).reshape(-1, 1, 1, 1) * pictures
    for chain in range(2):
        operations, arguments = (jnp.asarray(part[:, chain]) for part in drawn[:2])
        moved = read(compose_maps(operations, arguments, (HEIGHT, WIDTH)))
        expected += drawn.shares[:, chain].reshape(-1, 1, 1, 1) * change_values(
            moved, operations, arguments, layout
        )
    np.testing.assert_allclose(1.0 - ink, expected / 255.0, atol=1e-5)


def test_geometric_operations_are_read_and_others_run_in_their_order():
    calls = []

    def read(matrices):
        """Another picture for the images that are moved."""
        calls.append(matrices)
        moves = (matrices != jnp.eye(3).reshape(1, 3, 3)).any((1, 2))
        return jnp.asarray(PICTURES)[moves.astype(int)]

    ink, drawn, _ = apply(RandAugment(probability=1.0, operations=3), read, 32)
    assert len(calls) == 1
    moves = (drawn.operations >= GEOMETRIC_FROM).any((1, 2))
    steps = jax.jit(make_steps(EVERYTHING))
    rows = zip(ink, drawn.operations[:, 0], drawn.arguments[:, 0], moves, strict=True)
    for image, operations, arguments, moved in rows:
        order = [change for change in zip(operations, arguments, strict=True) if change[0] < GEOMETRIC_FROM]
        picture = PICTURES[int(moved)]
        for operation, argument in order:
            picture = steps(picture, operation.reshape(1), argument.reshape(1))
        np.testing.assert_allclose(1.0 - image, picture / 255.0, atol=1.5 / 255)


def test_nothing_that_cannot_happen_is_traced():
    layout = Layout(chains=1, draws=1, blends=False, operations=frozenset({"rotate", "shear_x"}))
    assert layout.moves
    assert make_steps(layout) is None
    blur = Layout(chains=1, draws=1, blends=False, operations=frozenset({"blur"}))
    assert not blur.moves
    program = str(jax.make_jaxpr(make_steps(blur))(PICTURES[0], jnp.zeros(1, int), jnp.zeros(1)))
    assert "scatter-add" not in program
    assert "dot_general" in program
