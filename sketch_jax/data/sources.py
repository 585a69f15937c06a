"""All sources of labelled images as one type, and the function that loads any of them."""

from sketch_jax.data.csv_table import Csv, load_csv
from sketch_jax.data.doodles import Doodles, load_doodles
from sketch_jax.data.folder import Folder, load_folder
from sketch_jax.data.mask_folders import MaskFolders, load_mask_folders
from sketch_jax.data.records import Dataset, SubmissionLayout
from sketch_jax.data.tfds_source import Tfds, load_tfds
from sketch_jax.data.verify import Progress, verify_dataset

Source = Folder | Csv | MaskFolders | Tfds | Doodles


def load_layout(source: Source) -> SubmissionLayout | None:
    """The layout of a contest's submission; None where the source has no sample of one.

    Raises:
        InputError: as for `load_source`; no image is decoded.
    """
    match source:
        case Csv():
            return load_csv(source).submission
        case MaskFolders():
            return load_mask_folders(source).submission
        case _:
            return None


def load_source(source: Source, *, progress: Progress | None = None) -> Dataset:
    """The labelled images of a source; unless told to trust them, every image has been decoded once.

    Args:
        source: where the images are.
        progress: called with (images checked, all images) now and then while images are checked.

    Raises:
        InputError: the source breaks a rule; lists all faults of a kind.
    """
    match source:
        case Folder(root=root):
            return verify_dataset(load_folder(source), root, source.on_bad_image, progress=progress)
        case Csv(root=root):
            return verify_dataset(load_csv(source), root, source.on_bad_image, progress=progress)
        case MaskFolders(root=root):
            return verify_dataset(load_mask_folders(source), root, source.on_bad_image, progress=progress)
        case Tfds(name=name):
            return verify_dataset(load_tfds(source), name, source.on_bad_image, progress=progress)
        case Doodles():
            return load_doodles(source)
