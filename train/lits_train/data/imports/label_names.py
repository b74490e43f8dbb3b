"""Which label of another data set is the liver and which the lesions, by their names."""

import re
from collections.abc import Mapping
from typing import Any

from lits_runtime.errors import DatasetError
from lits_runtime.labels import BACKGROUND, LESION, LIVER
from lits_runtime.messages import brief

_NAMES = {
    BACKGROUND: r"background|clear ?label|none",
    LIVER: r"(normal |healthy )?(liver|hepar)( parenchyma)?",
    LESION: r"(liver |hepatic )?(tumou?rs?|cancers?|lesions?|hcc|metastas[ie]s)",
}


def label_values(labels: Mapping[str, Any], where: str) -> dict[int, int]:
    """Value in the file to our label, by the labels of a dataset.json.

    >>> label_values({"0": "background", "1": "liver", "2": "cancer"}, "dataset.json")
    {0: 0, 1: 1, 2: 2}
    >>> label_values({"background": 0, "tumor": 1, "liver": 2}, "dataset.json")
    {0: 0, 1: 2, 2: 1}

    Args:
        labels: as MSD writes them, by value, or as nnU-Net does, by name; a region such as
            [1, 2] stands for the first of its values.
        where: for messages.

    Raises:
        DatasetError: a label is none of background, liver and lesion, or liver is missing.
    """
    found: dict[int, int] = {}
    for key, given in labels.items():
        name, value = (given, key) if str(key).isdecimal() else (key, given)
        value = str(value[0] if isinstance(value, list) and value else value)
        label = _label_of(name)
        if label is None or not value.isdecimal() or label in found.values():
            shown = brief(", ".join(f"{one} {labels[one]}" for one in labels))
            raise DatasetError(
                f"{where}: labels {shown}; expected background, liver and tumour, each once"
            )
        found[int(value)] = label
    if LIVER not in found.values():
        raise DatasetError(f"{where}: no label is named liver")
    return found


def _label_of(name: object) -> int | None:
    words = re.sub(r"[-_]", " ", str(name)).strip()
    return next(
        (one for one, known in _NAMES.items() if re.fullmatch(known, words, re.IGNORECASE)), None
    )
