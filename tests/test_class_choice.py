"""Choices among classes, by name and by size."""

import numpy as np
import pytest

from sketch_jax.class_choice import NamedClasses, SmallClasses, chosen_classes
from sketch_jax.errors import InputError
from sketch_jax.tasks import cross_product, joined_names

TASKS = cross_product({"mask": ("worn", "none"), "age": ("young", "old")})
SIZES = np.array([40, 10, 8, 2])


def chosen(choice, tasks=None) -> list[bool]:
    return chosen_classes(choice, SIZES, joined_names(TASKS), tasks, option="--choice").tolist()


def test_classes_are_chosen_by_their_share_of_the_largest_or_by_name():
    assert chosen(SmallClasses(largest_share=0.25)) == [False, True, True, True]
    assert all(chosen(SmallClasses(largest_share=1.0)))
    assert chosen(NamedClasses(classes=("worn/young", "age=old")), TASKS) == [True, True, False, True]


def test_a_name_that_is_of_no_class_is_refused():
    with pytest.raises(InputError) as refusal:
        chosen(NamedClasses(classes=("worn/old", "age=odl")), TASKS)
    assert str(refusal.value) == (
        "--choice.classes: must be names of the training set (1):\n"
        "  'age=odl' is not; did you mean 'age=old' or 'age=young'?\n"
        "correct these names"
    )


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_what_is_no_share_of_the_largest_class_is_refused(share):
    with pytest.raises(InputError, match="shares of the largest class must be 0 to 1"):
        SmallClasses(largest_share=share)
