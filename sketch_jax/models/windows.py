"""Feature maps cut into windows, and put together again.

References:
    Swin Transformer (arXiv:2103.14030) for windows; MaxViT (arXiv:2204.01697) for grids.
"""

from jaxtyping import Array, Float

FeatureMap = Float[Array, "batch height width channels"]
Cells = Float[Array, "windows cells channels"]
Pair = tuple[int, int]


def cut_windows(features: FeatureMap, window: Pair) -> Cells:
    """Neighbouring cells together: the windows of each image row by row, the cells of each row by row.

    Args:
        features: of a height and width that the window's divide.
        window: its height and width in cells.
    """
    batch, height, width, channels = features.shape
    cells = features.reshape(batch, height // window[0], window[0], width // window[1], window[1], channels)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(-1, window[0] * window[1], channels)


def join_windows(windows: Cells, window: Pair, size: Pair) -> FeatureMap:
    """The inverse of `cut_windows`.

    Args:
        windows: of all images.
        window: height and width of one, in cells.
        size: height and width of the feature map.
    """
    rows, columns = size[0] // window[0], size[1] // window[1]
    cells = windows.reshape(-1, rows, columns, *window, windows.shape[-1])
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(-1, *size, windows.shape[-1])


def cut_grid(features: FeatureMap, grid: Pair) -> Cells:
    """Cells that lie evenly apart together, as many down and right as `grid` says; else as `cut_windows`."""
    batch, height, width, channels = features.shape
    cells = features.reshape(batch, grid[0], height // grid[0], grid[1], width // grid[1], channels)
    return cells.transpose(0, 2, 4, 1, 3, 5).reshape(-1, grid[0] * grid[1], channels)


def join_grid(windows: Cells, grid: Pair, size: Pair) -> FeatureMap:
    """The inverse of `cut_grid`; arguments as `join_windows`."""
    rows, columns = size[0] // grid[0], size[1] // grid[1]
    cells = windows.reshape(-1, rows, columns, *grid, windows.shape[-1])
    return cells.transpose(0, 3, 1, 4, 2, 5).reshape(-1, *size, windows.shape[-1])
