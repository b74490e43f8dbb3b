"""Files that a user gives: regular, of a size that can be, and parsed without surprises."""

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
        path: of the file; a pipe, which would be waited for, is refused as a folder is.
        most: bytes that it may hold.
        kind: what is raised if it is larger, or no regular file.

    Raises:
        OSError: it is missing, or may not be read.
    """
    with open_regular(path, kind) as file:
        too_large = os.fstat(file.fileno()).st_size > most
        content = b"" if too_large else file.read(most + 1)
    if too_large or len(content) > most:
        raise kind(f"{path}: larger than {most} bytes, the most that such a file may hold")
    return content


def read_json(path: Path, most: int, kind: type[Exception]) -> Any:
    """The value in a JSON file, which names no key twice and has no number that is none.

    Args:
        path: of the file.
        most: bytes that it may hold.
        kind: what is raised for all that is wrong with it.

    Raises:
        OSError: it is missing, or may not be read.
    """
    content = read_bytes(path, most, kind)
    try:
        return strict_json(content)
    except (ValueError, RecursionError) as error:
        raise kind(f"{path}: not readable JSON: {brief(error)}") from error


def strict_json(content: str | bytes) -> Any:
    """The value of JSON, which names no key twice and has no number that is none.

    Raises:
        ValueError: it is not that.
        RecursionError: it is nested more deeply than Python goes.
    """
    text = content if isinstance(content, str) else content.decode()
    return json.loads(text, object_pairs_hook=_once, parse_constant=_refused, parse_float=_finite)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {brief(twice)!r} is there twice")
    return content


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refused(digits)


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
