"""The image sizes that architectures are made for."""

from collections.abc import Iterable, Mapping

DEFAULT_IMAGE_SIZE = 224


def sizes_by_name(names_by_size: Mapping[int, Iterable[str]]) -> dict[str, int]:
    """The same table the other way round.

    >>> sizes_by_name({160: ("a", "b"), 256: ("c",)})
    {'a': 160, 'b': 160, 'c': 256}
    """
    return {name: size for size, names in names_by_size.items() for name in names}
