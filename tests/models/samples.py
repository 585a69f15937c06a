"""A few of many architectures: the suite takes these, `pytest -m slow` takes the rest."""

from collections.abc import Iterable

import pytest


def sampled(names: Iterable[str], every: int) -> list:
    """Test parameters of which one in so many, evenly over the sorted names, is not marked slow."""
    return [
        pytest.param(name, marks=[] if index % every == every // 2 else pytest.mark.slow)
        for index, name in enumerate(sorted(names))
    ]
