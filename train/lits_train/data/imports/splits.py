"""nnU-Net's splits_final.json: which cases each fold holds out."""

from pathlib import Path

from lits_runtime.errors import DatasetError
from lits_runtime.messages import brief
from lits_train.given_files import read_json

SPLITS_NAME = "splits_final.json"
_MOST_JSON_BYTES = 2**24


def cases_of_fold(path: Path, fold: int) -> tuple[list[str], list[str]]:
    """The cases that a fold trains on, and those that it holds out.

    Args:
        path: [{"train": [case IDs], "val": [case IDs]}, ...], one for each fold.
        fold: from 0.

    Raises:
        DatasetError: the file is another, or has fewer folds, or a case is in both lists.
    """
    folds = read_json(path, _MOST_JSON_BYTES, DatasetError)
    if not isinstance(folds, list) or not all(map(_is_fold, folds)):
        raise DatasetError(f'{path}: expected a list of {{"train": [...], "val": [...]}}')
    if not 0 <= fold < len(folds):
        raise DatasetError(f"{path}: fold {fold}, expected 0 to {len(folds) - 1}")
    training, held_out = (sorted(set(folds[fold][part])) for part in ("train", "val"))
    if both := sorted({*training} & {*held_out}):
        raise DatasetError(
            f"{path}: fold {fold} trains on {brief(', '.join(both))} and holds it out as well"
        )
    return training, held_out


def _is_fold(fold: object) -> bool:
    return isinstance(fold, dict) and all(
        isinstance(fold.get(part), list) and all(isinstance(one, str) for one in fold[part])
        for part in ("train", "val")
    )


def find_splits(source: Path) -> Path | None:
    """The splits beside raw data, or where nnU-Net's preprocessing puts them."""
    places = (source, source.parent.parent / "nnUNet_preprocessed" / source.name)
    return next((place / SPLITS_NAME for place in places if (place / SPLITS_NAME).is_file()), None)
