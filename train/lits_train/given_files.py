"""Files from users: regular, of limited size, and parsed strictly."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from lits_runtime.files.regular_file import read_bounded
from lits_runtime.messages import brief


def read_json(path: Path, most: int, kind: type[Exception]) -> Any:
    """The value in a JSON file without duplicate keys, NaN or infinity.

    Args:
        path: of the file.
        most: maximum size in bytes.
        kind: what to raise if it is larger, not a regular file, or not such JSON.

    Raises:
        OSError: it is missing or not readable.
    """
    content = read_bounded(path, most, kind)
    try:
        return strict_json(content)
    except (ValueError, RecursionError) as error:
        raise kind(f"{path}: not valid JSON: {brief(error)}") from error


def strict_json(content: str | bytes) -> Any:
    """The value of JSON without duplicate keys, NaN or infinity.

    Raises:
        ValueError: it is not such JSON.
        RecursionError: it is nested too deeply.
    """
    text = content if isinstance(content, str) else content.decode()
    return json.loads(text, object_pairs_hook=_once, parse_constant=_refused, parse_float=_finite)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"duplicate key {brief(twice)!r}")
    return content


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refused(digits)


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
