"""The images of one series, in groups that form one volume each."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np

from lits_runtime.errors import VolumeError
from lits_runtime.volumes.dicom.sorting.grid import TOLERANCE_MM, places_of, some
from lits_runtime.volumes.dicom.sorting.images import Image

_DIRECTION = 1e-3
"""By which cosines of one orientation may differ: 0.06 degrees."""
_SPACING = 1e-3
_KEYS = (
    *("TemporalPositionIdentifier", "AcquisitionNumber", "AcquisitionTime"),
    *("ContrastBolusAgent", "ImageType", "ConvolutionKernel", "KVP"),
)
"""Elements that tell the phases of one series from each other, the surest first."""
_BY_TIME = "AcquisitionTime"


def is_localiser(image: Image) -> bool:
    """Whether an image is a scout view."""
    return "LOCALIZER" in image.acquisition.image_type[:4]


def of_one_grid(images: Iterable[Image]) -> list[list[Image]]:
    """Images of one orientation, matrix, spacing, frame of reference and kind together."""
    groups: list[list[Image]] = []
    recent: dict[tuple[object, ...], list[list[Image]]] = {}
    for image in images:
        layout, kind = image.header.layout, image.acquisition.image_type[:1]
        key = (layout.rows, layout.columns, image.frame_of_reference_uid, kind)
        alike = recent.setdefault(key, [])
        for group in alike:
            if _same_plane(group[0], image):
                group.append(image)
                break
        else:
            alike.append([image])
            groups.append(alike[-1])
    return groups


def _same_plane(one: Image, other: Image) -> bool:
    turned = np.subtract(one.orientation, other.orientation)
    scaled = np.divide(one.spacing_mm, other.spacing_mm)
    return bool(abs(turned).max() <= _DIRECTION and abs(scaled - 1).max() <= _SPACING)


def without_copies(images: Sequence[Image]) -> tuple[list[Image], list[Image]]:
    """Each image once, and the copies: objects of the same UID at the same place."""
    seen: dict[tuple[object, ...], Image] = {}
    copies = []
    for image in images:
        header = image.header
        key = (header.sop_instance_uid, header.frame, image.position)
        if header.sop_instance_uid and key in seen:
            copies.append(image)
        else:
            seen[key if header.sop_instance_uid else (id(image),)] = image
    return list(seen.values()), copies


def phases(images: Sequence[Image]) -> list[list[Image]]:
    """Images of one grid, in groups in which no two share a place.

    Raises:
        VolumeError: images share a place, and no element tells them apart.
    """
    places = _shared_places(images)
    most = max(Counter(places).values())
    if most == 1:
        return [list(images)]
    for key in _KEYS:
        groups = _grouped(images, lambda image, key=key: dict(image.phase)[key])  # type: ignore[misc]
        if _are_better(groups, most):
            return [part for group in groups for part in phases(group)]
    by_time = _by_rank_in_time(images, places, most)
    if by_time is not None:
        return by_time
    often = Counter(places)
    doubled = [image for image, place in zip(images, places, strict=True) if often[place] > 1]
    number = sum(count > 1 for count in often.values())
    raise VolumeError(
        f"{number} position{'s' * (number > 1)} with {most} images each, which no acquisition "
        f"number, time or contrast tells apart: {some(doubled)}; remove the images that do not "
        "belong to the volume, or choose another series"
    )


def _shared_places(images: Sequence[Image]) -> list[int]:
    """A number for each image, the same for images at one place."""
    places = places_of(images)
    order = np.argsort(places, kind="stable")
    numbers = np.zeros(len(images), int)
    numbers[order] = np.concatenate([[0], np.cumsum(np.diff(places[order]) > TOLERANCE_MM)])
    found: list[int] = numbers.tolist()
    return found


def _grouped(images: Sequence[Image], key: Callable[[Image], str]) -> list[list[Image]]:
    groups: dict[str, list[Image]] = {}
    for image in images:
        groups.setdefault(key(image), []).append(image)
    return [groups[value] for value in sorted(groups)]


def _are_better(groups: list[list[Image]], most: int) -> bool:
    """Whether groups are few, none is a single image, and fewer images share a place in each."""
    if not 2 <= len(groups) <= most + 2 or min(map(len, groups)) < 2:
        return False
    return all(max(Counter(_shared_places(group)).values()) < most for group in groups)


def _by_rank_in_time(
    images: Sequence[Image], places: Sequence[int], most: int
) -> list[list[Image]] | None:
    """Phases that follow each other, each image with a time of its own; None if they do not."""
    if set(Counter(places).values()) != {most}:
        return None
    at_place: dict[int, list[Image]] = {}
    for image, place in zip(images, places, strict=True):
        at_place.setdefault(place, []).append(image)
    ranked = [sorted(group, key=_time) for group in at_place.values()]
    groups = [[group[rank] for group in ranked] for rank in range(most)]
    for earlier, later in pairwise(groups):
        if not max(map(_time, earlier)) < min(map(_time, later)):
            return None
    return groups


def _time(image: Image) -> str:
    return dict(image.phase)[_BY_TIME]
