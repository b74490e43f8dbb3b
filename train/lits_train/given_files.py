"""Files from users: regular, of limited size, and parsed strictly."""

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from lits_runtime.files.regular_file import open_regular
from lits_runtime.messages import brief


def read_bytes(path: Path, most: int, kind: type[Exception]) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file; a pipe, which might block for ever, is refused like a folder.
        most: maximum size in bytes.
        kind: what to raise if it is larger, or not a regular file.

    Raises:
        OSError: it is missing or not readable.
    """
    with open_regular(path, kind) as file:
        too_large = os.fstat(file.fileno()).st_size > most
        content = b"" if too_large else file.read(most + 1)
    if too_large or len(content) > most:
        raise kind(f"{path}: larger than {most} bytes, the limit for such a file")
    return content


def read_json(path: Path, most: int, kind: type[Exception]) -> Any:
    """The value in a JSON file without duplicate keys, NaN or infinity.

    Args:
        path: of the file.
        most: maximum size in bytes.
        kind: what to raise if it is larger, not a regular file, or not such JSON.

    Raises:
        OSError: it is missing or not readable.
    """
    content = read_bytes(path, most, kind)
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
