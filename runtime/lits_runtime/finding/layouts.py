"""Which volumes of a data set are not scans, by the naming of LiTS, MSD, nnU-Net and others."""

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lits_runtime.errors import VolumeError
from lits_runtime.files.regular_file import read_bounded
from lits_runtime.messages import printable
from lits_runtime.records.own_outputs import made_by_us, made_here
from lits_runtime.volumes.names import WRITTEN, stem_and_ending, volume_ending

# Patterns are compiled on first use: a single scan needs none of them.
_FOLDER_OF_MASKS = (
    r"(labels?|masks?|seg|segs|segmentations?|annotations?|gt|ground|ground[-_ ]?truths?)"
    r"|(labels|masks|gt)[-_]?(tr|ts|va|val|test|train|training|validation|segmentations)"
    r"|instances|(inferred|predicted|preds?|predictions?)(ts|tr)?"
)
"""LiTS has none; MSD and nnU-Net labelsTr, TotalSegmentator segmentations, KiTS instances, CHAOS
Ground, BTCV label."""

_WORD = r"(segs?|segmentations?|masks?|labels?|labelmap|lbl|gt|ground-?truth|preds?|predictions?)"
_MASK = (
    rf"(test[-_ ])?{_WORD}([-_ .]?\d+)?|(test[-_ ])?{_WORD}[-_ ].+"
    rf"|.*[-_ .]({_WORD}|dseg|probseg|annotations?)[-_]?\d*"
    r"|(test[-_ ])?(reference|submission)([-_ ]\d+)?|combined_labels"
)
"""segmentation-3, label0012, ct_seg, sub-01_dseg, tumor_instance-1_annotation-2, liver-seg001."""
_PROBABILITY = r"(.*_)?prob(_.+)?|probability(_.+)?"

_ORGAN = (
    r"(spleen|gallbladder|stomach|pancreas|esophagus|trachea|small_bowel|duodenum|colon|brain|skull"
    r"|urinary_bladder|prostate|sternum|spinal_cord|sacrum|heart.*|atrial.*|aorta|pulmonary_.*"
    r"|brachiocephalic_.*|superior_vena_cava|inferior_vena_cava|portal_vein_and_splenic_vein"
    r"|thyroid_gland|costal_cartilages|body|kidneys?|liver|lungs?|lesions?|bones?|skin|artery"
    r"|(left|right)(kidney|lung)|portalvein\d*|venoussystem|venacava|liver-?(tumou?r|cyst)s?\d*"
    r"|liver_(vessels|segment_\d|lesions?|tumou?rs?)|tumou?rs?|cysts?"
    r"|(kidney|adrenal_gland|lung|subclavian_artery|common_carotid_artery|iliac_\w+|humerus|scapula"
    r"|clavicula|femur|hip|gluteus_\w+|autochthon|iliopsoas|kidney_cyst)_(left|right)"
    r"|lung_\w+_lobe_(left|right)|vertebrae_\w+|rib_(left|right)_\d+)"
)
"""The masks of TotalSegmentator and 3D-IRCADb, one file per organ."""
_SCAN = (
    r"ct|mri?|imag(e|ing)|img|scan|volume|patient|(volume|image|img|case|scan)[-_ ]?\d+.*|.*[-_]ct"
)
_LEAST_ORGANS = 3

_CHANNEL = r"(.+)_(\d{4})"
_IMAGES = r"(images|labels)(tr|ts|va|val|test|train)"
_MOST_CHANNELS = 8
_MOST_JSON_BYTES = 2**24


def _is(pattern: str, name: str) -> re.Match[str] | None:
    return re.fullmatch(pattern, name, re.IGNORECASE | re.DOTALL)


def folder_of_masks(name: str) -> str | None:
    """Why a folder of this name holds no scans; None if it may."""
    if _is(_FOLDER_OF_MASKS, name):
        return f"masks, by the folder's name ({printable(name)})"
    return None


def litter(name: str) -> str | None:
    """Why a file or folder of this name is not data; None if it may be."""
    if name == "__MACOSX" or name.startswith("._"):
        return "written by macOS, not an image"
    if name.startswith(".partial-"):
        return "a temporary file"
    return "hidden" if name.startswith(".") else None


def no_scans_by_layout(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Which volumes of one folder are not scans by their names, and why.

    Args:
        folder: with the volumes; nnU-Net's dataset.json and labels may be beside it.
        names: of all volumes in it.
    """
    inferred = folder.name == "validation" and folder.parent.name.startswith("fold_")
    if inferred or (folder / "predict_from_raw_data_args.json").exists():
        return dict.fromkeys(names, "predicted by nnU-Net")
    stems = {name: stem_and_ending(name)[0] for name in names}
    reasons = _further_channels(folder, stems) | _organs(stems)
    for name, stem in stems.items():
        if _is(_PROBABILITY, stem):
            reasons[name] = "probabilities, by the name"
        elif _is(_MASK, stem):
            reasons[name] = "a mask, by the name"
    return reasons


def kinds_of_volumes(folder: Path, files: Sequence[Path]) -> dict[Path, str]:
    """The kind of each volume in a searched folder: "mask", "probability", or else "scan"."""
    made = {parent: made_here(parent) for parent in {path.parent for path in files}}
    kinds = {}
    for path in files:
        stem = stem_and_ending(path.name)[0]
        ours = path.name in made[path.parent]
        if _is(_PROBABILITY, stem) or (ours and not made_by_us(path)):
            kinds[path] = "probability"  # listed by the record of a mask
        elif ours or _is(_MASK, stem):
            kinds[path] = "mask"
        else:
            inside = path.parent.relative_to(folder).parts
            kinds[path] = "mask" if any(map(folder_of_masks, inside)) else "scan"
    return kinds


def _organs(stems: dict[str, str]) -> dict[str, str]:
    organs = [name for name, stem in stems.items() if _is(_ORGAN, stem)]
    scan = any(_is(_SCAN, stem) for stem in stems.values())
    if len(organs) < (1 if scan else _LEAST_ORGANS):
        return {}
    return dict.fromkeys(organs, "the mask of an organ, by the name")


def _further_channels(folder: Path, stems: dict[str, str]) -> dict[str, str]:
    """Further channels of nnU-Net's cases, such as case_0001 beside case_0000."""
    parts = {name: match for name, stem in stems.items() if (match := _is(_CHANNEL, stem))}
    by_case: dict[str, set[int]] = {}
    for match in parts.values():
        by_case.setdefault(match[1], set()).add(int(match[2]))
    with_channels = {
        case
        for case, numbers in by_case.items()
        if 0 in numbers and 1 in numbers and max(numbers) < _MOST_CHANNELS
    }
    if not with_channels or not _are_channels(folder, with_channels):
        return {}
    return {
        name: f"a further channel of a case (nnU-Net); {match[1]}_0000 is the first"
        for name, match in parts.items()
        if match[1] in with_channels and int(match[2]) > 0
    }


def _are_channels(folder: Path, cases: set[str]) -> bool:
    """Whether four digits number channels, or else cases, as in word_0000 and word_0001."""
    described = _dataset_json(folder.parent)
    channels = described.get("channel_names", described.get("modality"))
    if isinstance(channels, dict):
        return len(channels) > 1
    labels = _labels_beside(folder)
    known = set()
    if labels != folder:
        with suppress(OSError):
            known = {stem_and_ending(name)[0] for name in os.listdir(labels)}
    if cases & known:
        return True
    if any(f"{case}_0001" in known for case in cases):
        return False
    return len(cases) > 1 or bool(_is(_IMAGES, folder.name))


def _dataset_json(folder: Path) -> dict[str, Any]:
    """What nnU-Net says of a data set; empty if there is nothing to read."""
    try:
        content = json.loads(read_bounded(folder / "dataset.json", _MOST_JSON_BYTES, VolumeError))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def case_of_layout(path: Path) -> tuple[str, str] | None:
    """Kind ("volume" or "segmentation") and case ID of training data of MSD and nnU-Net; else None.

    >>> case_of_layout(Path("imagesTr/liver_3_0000.nii.gz")), case_of_layout(Path("x/a.nii"))
    (('volume', 'liver_3'), None)
    """
    folder = path.parent.name.lower()
    if folder not in ("imagestr", "labelstr") or not volume_ending(path.name):
        return None
    stem = stem_and_ending(path.name)[0]
    if folder == "labelstr":
        return "segmentation", stem
    labels = _labels_beside(path.parent)
    if any((labels / f"{stem}{ending}").exists() for ending in WRITTEN):
        return "volume", stem  # word_0000 is a case ID
    return "volume", stem.removesuffix("_0000")


def _labels_beside(images: Path) -> Path:
    return images.with_name(re.sub("(?i)images", "labels", images.name))
