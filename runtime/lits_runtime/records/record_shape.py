"""The form that JSON must have to be a record; people and other programs write JSON files too."""

import math
import re
from typing import Any

_STATES = ("done", "naming", "running")
"""The first edition had "running", and listed no files with it."""
_NEEDED = {"files", "tumour_burden_percent", "whole_because"}
"""Keys whose values may be null or are checked elsewhere."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_record(content: Any, version: int) -> bool:
    """Whether JSON is a record of a format version with a sound list of files."""
    if not isinstance(content, dict) or type(content.get("record_version")) is not int:
        return False
    if content["record_version"] != version:
        return False
    if content.get("state") not in _STATES:
        return False
    files, replaces = content.get("files", {}), content.get("replaces", {})
    if not isinstance(files, dict) or not isinstance(replaces, dict):
        return False
    older = [facts for kept in replaces.values() for facts in (kept if _is_list(kept) else [None])]
    return all(_is_facts(facts) for facts in (*files.values(), *older))


def is_complete(record: dict[str, Any]) -> bool:
    """Whether a record commits results and has all that commands show of them.

    Keys that older editions did not write are optional, and those that newer ones add are allowed.
    """
    return (
        record["state"] == "done"
        and record.keys() >= _NEEDED
        and _is_sha256(_part(record, "scan"), "sha256")
        and _is_sha256(_part(record, "model"), "sha256")
        and isinstance(record.get("settings"), dict)
        and all(_are_strings(record.get(name)) for name in ("warnings", "liver_cut"))
        and _are_volumes(record.get("volumes_ml"))
        and _is_number_or_none(record.get("tumour_burden_percent"))
        and _is_count(record.get("lesion_count"))
        and isinstance(record.get("provider"), str)
        and isinstance(record.get("whole_because"), str | None)
        and _is_list(record.get("lesions"))
        and all(map(_is_lesion, record["lesions"]))
    )


def _part(record: dict[str, Any], name: str) -> dict[str, Any]:
    part = record.get(name)
    return part if isinstance(part, dict) else {}


def _is_sha256(part: dict[str, Any], name: str) -> bool:
    value = part.get(name)
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_facts(facts: Any) -> bool:
    return isinstance(facts, dict) and _is_count(facts.get("bytes")) and _is_sha256(facts, "sha256")


def _is_lesion(lesion: Any) -> bool:
    return (
        isinstance(lesion, dict)
        and _are_numbers(lesion.get("centroid_mm"), 3)
        and _are_numbers(lesion.get("slices"), 2)
        and all(
            value is None or isinstance(value, list | str) or _is_number(value)
            for value in lesion.values()
        )
    )


def _are_volumes(volumes: Any) -> bool:
    return isinstance(volumes, dict) and all(_is_number(volume) for volume in volumes.values())


def _are_strings(values: Any) -> bool:
    return _is_list(values) and all(isinstance(value, str) for value in values)


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(map(_is_number, values))


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)
