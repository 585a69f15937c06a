"""The layout of a contest's answers, read from its sample submission."""

from collections.abc import Sequence

from sketch_jax.data.records import SubmissionLayout
from sketch_jax.data.tables import Table, column, refuse_repeated
from sketch_jax.errors import InputError, refuse_faults

_ID_OPTION = "--source.submission-id-column"
_TARGET_OPTION = "--source.submission-target-column"


def read_layout(
    table: Table,
    test_ids: Sequence[str],
    targets: tuple[str, ...],
    *,
    id_column: str | None,
    target_column: str,
) -> SubmissionLayout:
    """The layout of a sample submission that has one row for each test example.

    Args:
        table: the sample submission.
        test_ids: ids of the test examples.
        targets: what is written for each class index.
        id_column: column whose values are the ids; None: the one that agrees best with them.
        target_column: column that receives the answers.

    Raises:
        InputError: a column is missing, or the ids are not those of the test examples; lists the difference.
    """
    column(table, target_column, option=_TARGET_OPTION)
    name = id_column or _best_id_column(table, test_ids)
    ids = column(table, name, option=_ID_OPTION)
    refuse_repeated(table, ids, name)
    _check_ids(table, ids, test_ids)
    return SubmissionLayout(
        columns=table.columns, rows=table.rows, id_column=name, target_column=target_column, targets=targets
    )


def _best_id_column(table: Table, test_ids: Sequence[str]) -> str:
    wanted = set(test_ids)
    shared = {
        name: len(wanted.intersection(column(table, name, option=_ID_OPTION))) for name in table.columns
    }
    best = max(shared, key=lambda name: shared[name])
    if not shared[best]:
        there = ", ".join(repr(name) for name in table.columns)
        raise InputError(
            f"{table.path}: no column holds the ids of the test table, such as {test_ids[0]!r}; its columns "
            f"are {there}; name the test table's column of ids by --source.test-id-column"
        )
    return best


def _check_ids(table: Table, ids: Sequence[str], test_ids: Sequence[str]) -> None:
    wanted, there = set(test_ids), set(ids)
    refuse_faults(
        f"{table.path}: needs one row for each of the {len(wanted)} test images",
        [
            *(f"{name!r} is missing" for name in test_ids if name not in there),
            *(f"{name!r} is not in the test table" for name in ids if name not in wanted),
        ],
        "take the sample submission and the test table of the same data set",
    )
