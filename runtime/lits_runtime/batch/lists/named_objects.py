"""The scans that a URI names: an object, or those below a prefix."""

import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lits_runtime.finding.layouts import folder_of_masks, no_scans_by_layout
from lits_runtime.stores.objects import listed
from lits_runtime.stores.uri import below, checked_uri, name_of
from lits_runtime.volumes.names import is_written, stem_and_ending, volume_ending

_OF_SERIES = (".dcm", ".zip", ".ima")


class Named(NamedTuple):
    """A scan in a store, or a name under which there is none."""

    uri: str
    place: Path = Path()
    """Its folder, relative to the prefix that was given."""
    is_series: bool = False
    problem: str | None = None


def named_objects(uri: str, outputs: Sequence[str] = ()) -> tuple[list[Named], list[Named]]:
    """The scans that a URI names, and the volumes below it that are none, with the reason.

    An object is known by its name; below a prefix that ends in "/" everything is listed. There each
    folder with DICOM files, by the ending .dcm or without any, is one series.

    Args:
        uri: as a caller gave it.
        outputs: prefixes of results, which are left out.

    Raises:
        OptionsError: no URI of a store that we know.
        StoreError: the store does not answer.
    """
    uri = checked_uri(uri)
    name = name_of(uri)
    if not uri.endswith("/") and (volume_ending(name) or name.lower().endswith(_OF_SERIES)):
        return [_object(uri)], []
    if uri.startswith("http"):
        return [Named(uri, problem="a web server lists nothing; name each scan")], []
    prefix = uri.rstrip("/") + "/"
    folders: dict[str, list[str]] = {}
    for one in listed(prefix):
        if not one.startswith(tuple(output.rstrip("/") + "/" for output in outputs)):
            folders.setdefault(posixpath.dirname(one), []).append(one)
    found, left_out = list[Named](), list[Named]()
    for folder, objects in folders.items():
        for named in _in_folder(prefix, folder, objects):
            (found if named.problem is None else left_out).append(named)
    return found or [Named(uri, problem="no scan below this prefix")], left_out


def _object(uri: str, place: Path = Path()) -> Named:
    name = name_of(uri)
    if is_written(name):
        return Named(uri, place)
    if volume_ending(name):
        return Named(uri, place, problem="one of two files; convert it to .nii.gz")
    return Named(uri, place, is_series=True)


def _in_folder(prefix: str, folder: str, objects: Sequence[str]) -> Iterator[Named]:
    place = below(folder, prefix) if folder + "/" != prefix else Path()
    names = {name_of(uri): uri for uri in objects}
    volumes = [name for name in names if volume_ending(name)]
    by_folder = next(filter(None, map(folder_of_masks, place.parts)), None)
    reasons = no_scans_by_layout(place, volumes)
    hidden = any(part.startswith(".") for part in place.parts)
    for name in volumes:
        why = by_folder or reasons.get(name) or ("hidden" if hidden or name[0] == "." else None)
        yield Named(names[name], place, problem=why) if why else _object(names[name], place)
    plain = [name for name in names if not volumes and not re.search(r"\.[A-Za-z]\w*$", name)]
    slices = [name for name in names if name.lower().endswith((".dcm", ".ima"))] or plain
    if slices and not hidden:
        yield Named(folder + "/", place.parent, is_series=True)
    for name in names:
        if name.lower().endswith(".zip") and not hidden:
            yield Named(names[name], place, is_series=True)


def stem_of(uri: str) -> str:
    """The name of an object without its ending."""
    return stem_and_ending(name_of(uri))[0]
