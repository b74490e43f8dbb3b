"""Manifests: a row for each scan, with what its results are called, as CSV or Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lits_runtime.batch.lists.row import Row
from lits_runtime.errors import LitsError, OptionsError
from lits_runtime.files.regular_file import read_bounded
from lits_runtime.messages import printable
from lits_runtime.stores.uri import is_uri, shown

ENDINGS = (".csv", ".parquet")
MAX_BYTES = 2**31
_COLUMNS = ("uri", "id", "options")
_OPTIONS = {"series": str, "fill_missing": bool, "formats": list}


def is_manifest(name: str) -> bool:
    """Whether a list is a manifest by its ending, and not one path a line."""
    return name.lower().endswith(ENDINGS)


def read_manifest(name: str | Path) -> list[Row]:
    """The rows of a manifest, at a path or URI.

    Raises:
        OptionsError: a column or a value is not as `Row` has it.
        StoreError: a store does not answer.
        OSError: it cannot be read.
    """
    said = shown(name) if is_uri(name) else printable(str(name))
    content = content_of(name)
    parquet = str(name).lower().endswith(".parquet")
    rows = _of_parquet(content, said) if parquet else _of_csv(content, said)
    found, ids = [], set[str]()
    for number, row in enumerate(rows, 1):
        one = _checked(row, f"{said}: row {number}")
        if one.id is not None and one.id in ids:
            raise OptionsError(f"{said}: row {number}: the id {printable(one.id)} is there twice")
        ids |= {one.id} if one.id is not None else set()
        found.append(one)
    return found


def content_of(name: str | Path) -> bytes:
    """The bytes of a list, at a path or URI.

    Raises:
        StoreError: a store does not answer, or has no such object.
        OSError: it cannot be read.
    """
    if not is_uri(name):
        return read_bounded(Path(name), MAX_BYTES, OptionsError)
    from lits_runtime.stores.objects import read
    from lits_runtime.stores.uri import checked_uri

    content = read(checked_uri(str(name)), MAX_BYTES)
    if content is None:
        raise OptionsError(f"{shown(str(name))}: no such object")
    return content


def as_manifest(rows: Sequence[Row], ending: str) -> bytes:
    """The content of a manifest, for a name with this ending."""
    columns = {
        "uri": [row.uri for row in rows],
        "id": [row.id or "" for row in rows],
        "options": [json.dumps(row.options) if row.options else "" for row in rows],
    }
    if ending == ".parquet":
        import pyarrow
        from pyarrow import parquet

        sink = pyarrow.BufferOutputStream()
        parquet.write_table(pyarrow.table(columns), sink, compression="zstd")
        return bytes(sink.getvalue())
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _of_csv(content: bytes, name: str) -> Iterator[dict[str, Any]]:
    text = content.decode("utf-8-sig", "surrogateescape")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    _check_columns(reader.fieldnames or (), name)
    try:
        yield from reader
    except csv.Error as error:
        raise OptionsError(f"{name}: not CSV: {error}") from error


def _of_parquet(content: bytes, name: str) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(content))
        _check_columns(file.schema_arrow.names, name)
        for batch in file.iter_batches(
            columns=[c for c in file.schema_arrow.names if c in _COLUMNS]
        ):
            yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise OptionsError(f"{name}: not a readable Parquet file") from error


def _check_columns(names: Iterable[str], name: str) -> None:
    if "uri" not in names:
        raise OptionsError(f"{name}: no column uri; expected uri, and perhaps id and options")


def _checked(row: dict[str, Any], place: str) -> Row:
    uri, name = row.get("uri"), row.get("id") or None
    if not isinstance(uri, str) or not uri:
        raise OptionsError(f"{place}: an empty uri")
    if name is not None and not _is_name(name):
        raise OptionsError(
            f"{place}: the id {printable(str(name))!r}: expected a name that stays below the output"
        )
    return Row(uri, name, _checked_options(row.get("options") or None, place))


def _is_name(name: Any) -> bool:
    if not isinstance(name, str) or "\0" in name or "\\" in name:
        return False
    parts = name.split("/")
    return not PurePosixPath(name).is_absolute() and all(
        part not in ("", ".", "..") and not part.startswith(".") for part in parts
    )


def _checked_options(text: Any, place: str) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        options = json.loads(text) if isinstance(text, str) else dict(text)
        sound = all(isinstance(value, _OPTIONS[name]) for name, value in options.items())
    except (ValueError, TypeError, KeyError, AttributeError, LitsError):
        sound = False
    if not sound:
        known = ", ".join(_OPTIONS)
        raise OptionsError(f"{place}: options: expected a JSON object with some of {known}")
    return {name: value for name, value in options.items() if value is not None}
