"""Data sets of MSD and nnU-Net: imagesTr, labelsTr and dataset.json."""

import re
from pathlib import Path
from typing import Any

from lits_runtime.errors import DatasetError
from lits_runtime.labels import LESION
from lits_runtime.messages import brief
from lits_runtime.volumes.names import stem_and_ending, volume_ending
from lits_train.data.imports.found import Found, Pair
from lits_train.data.imports.label_names import label_values
from lits_train.given_files import read_json

DESCRIPTION = "dataset.json"
_MOST_JSON_BYTES = 2**24
_CHANNEL = re.compile(r"(.+)_(\d{4})")


def find_image_folders(source: Path, layout: str) -> Found:
    """The pairs of a data set of MSD (one file a case) or nnU-Net (one file a channel).

    Raises:
        DatasetError: it is no CT of the liver, or has no pair.
    """
    described = read_json(source / DESCRIPTION, _MOST_JSON_BYTES, DatasetError)
    if not isinstance(described, dict) or not isinstance(described.get("labels"), dict):
        raise DatasetError(f"{source / DESCRIPTION}: expected an object with labels")
    values = label_values(described["labels"], str(source / DESCRIPTION))
    _require_ct(described, source)
    left_out: dict[str, str] = {}
    masks = _by_stem(source / "labelsTr", left_out)
    images = _by_stem(source / "imagesTr", left_out)
    if layout == "nnunet":
        images = _first_channels(images, left_out)
    for stem in sorted(images.keys() - masks.keys()):
        left_out[f"imagesTr/{images[stem].name}"] = "no mask of this name in labelsTr"
    for stem in sorted(masks.keys() - images.keys()):
        left_out[f"labelsTr/{masks[stem].name}"] = "no image of this name in imagesTr"
    if (source / "imagesTs").is_dir():
        left_out["imagesTs"] = "test images without masks"
    pairs = [Pair(stem, images[stem], masks[stem]) for stem in images if stem in masks]
    changed = {value: label for value, label in values.items() if value != label}
    return Found(layout, pairs, left_out, values if changed else {}, LESION not in values.values())


def _require_ct(described: dict[str, Any], source: Path) -> None:
    channels = described.get("channel_names", described.get("modality"))
    first = channels.get("0") if isinstance(channels, dict) else channels
    if isinstance(first, dict):  # an early form of nnU-Net
        first = first.get("0")
    if first is not None and str(first).upper() not in ("CT", "NOTNORM"):
        raise DatasetError(
            f"{source / DESCRIPTION}: the first channel is {brief(first)}, expected CT"
        )


def _by_stem(folder: Path, left_out: dict[str, str]) -> dict[str, Path]:
    """The volumes of one folder by name without endings."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = f"{folder.name}/{path.name}"
        if path.name.startswith("."):
            left_out[name] = "hidden"
        elif volume_ending(path.name) not in (".nii", ".nii.gz") or not path.is_file():
            left_out[name] = "no .nii or .nii.gz file"
        elif (stem := stem_and_ending(path.name)[0]) in found:
            left_out[name] = f"{found[stem].name} is there already"
        else:
            found[stem] = path
    return found


def _first_channels(images: dict[str, Path], left_out: dict[str, str]) -> dict[str, Path]:
    first: dict[str, Path] = {}
    for stem, path in images.items():
        match = _CHANNEL.fullmatch(stem)
        if match is None:
            left_out[f"imagesTr/{path.name}"] = "no number of a channel, expected _0000"
        elif int(match[2]):
            left_out[f"imagesTr/{path.name}"] = "a further channel; the first is the CT"
        else:
            first[match[1]] = path
    return first
