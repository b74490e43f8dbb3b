"""Objects by URI, through fsspec: looked at, listed, fetched and put.

Credentials come from where the libraries of the stores look for them: environment variables, their
own files, the machine's role. No message quotes more of a URI than `uri.shown`.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lits_runtime.errors import LitsError, OutputBusyError, StoreError
from lits_runtime.messages import brief
from lits_runtime.stores.uri import shown

_TRIES = 3
_SECONDS_BETWEEN = 1.0
_TAGS = ("ETag", "etag", "generation", "Last-Modified", "LastModified", "updated")
"""What tells versions of an object apart, by store; the first that there is counts."""


@dataclass(frozen=True)
class Stored:
    """What a store says of an object; equal as long as its content is the same."""

    bytes: int | None
    """None: a web server that does not say."""
    tag: str
    """Changes with the content; empty if the store has none."""

    def to_json(self) -> dict[str, Any]:
        """As in a record."""
        return {"bytes": self.bytes, "tag": self.tag}


def look(uri: str) -> Stored | None:
    """Size and tag of an object; None if there is none.

    Raises:
        StoreError: the store does not answer, or refuses.
    """
    with _errors_name(uri, "cannot be read"):
        try:
            found = _store(uri).info(uri)
        except FileNotFoundError:
            return None
    return None if found.get("type") == "directory" else _stored(found)


def listed(prefix: str) -> dict[str, Stored]:
    """All objects below a prefix, by URI, sorted.

    Raises:
        StoreError: as `look`.
    """
    scheme = prefix.partition("://")[0]
    with _errors_name(prefix, "cannot be listed"):
        try:
            found = _store(prefix).find(prefix.rstrip("/") + "/", detail=True)
        except FileNotFoundError:
            return {}
    uris = {name if "://" in name else f"{scheme}://{name}": one for name, one in found.items()}
    return {uri: _stored(uris[uri]) for uri in sorted(uris) if not uri.endswith("/")}


def read(uri: str, most: int) -> bytes | None:
    """The content of a small object; None if there is none.

    Raises:
        StoreError: as `look`, or it has more than `most` bytes.
    """
    found = look(uri)
    if found is None:
        return None
    if found.bytes is not None and found.bytes > most:
        raise StoreError(f"{shown(uri)}: {found.bytes} bytes, expected at most {most}")
    with _errors_name(uri, "cannot be read"):
        try:
            content: bytes = _store(uri).cat_file(uri)
        except FileNotFoundError:
            return None
    return content


def fetch(uri: str, path: Path, expected: Stored) -> None:
    """Copy an object to a local file; a cut connection is tried again.

    Raises:
        StoreError: as `look`, or the object is not the one that was looked at.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    def attempt() -> None:
        with _errors_name(uri, "cannot be fetched"):
            _store(uri).get_file(uri, str(path))
        arrived = path.stat().st_size
        if expected.bytes is not None and arrived != expected.bytes:
            raise StoreError(f"{shown(uri)}: {arrived} of {expected.bytes} bytes arrived")

    _repeatedly(attempt)
    if look(uri) != expected:
        raise StoreError(f"{shown(uri)}: changed while it was fetched; run again when complete")


def fetch_all(found: dict[str, Stored], paths: Sequence[Path], prefix: str) -> None:
    """Copy all objects below a prefix to local files, several at once.

    Args:
        found: the objects, as `listed` gave them.
        paths: of the files, in the same order.
        prefix: of them all.

    Raises:
        StoreError: as `fetch`.
    """
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)

    def attempt() -> None:
        with _errors_name(prefix, "cannot be fetched"):
            _store(prefix).get([*found], [*map(str, paths)])
        for stored, path in zip(found.values(), paths, strict=True):
            if stored.bytes is not None and path.stat().st_size != stored.bytes:
                raise StoreError(f"{shown(prefix)}: not all of an object arrived")

    _repeatedly(attempt)
    if listed(prefix) != found:
        raise StoreError(f"{shown(prefix)}: changed while it was fetched; run again when complete")


def put(path: Path, uri: str) -> Stored:
    """Copy a local file to an object, which appears whole or not at all.

    Raises:
        StoreError: the store does not answer, or refuses.
    """

    def attempt() -> None:
        with _errors_name(uri, "cannot be written"):
            _store(uri).put_file(str(path), uri)

    _repeatedly(attempt)
    return _there(uri)


def put_after(content: bytes, uri: str, before: Stored | None) -> Stored:
    """Write a small object, provided that it still is as it was before; None: there was none.

    S3 and Google Cloud Storage refuse to create what another has created; S3 also refuses to
    replace what another has replaced.

    Raises:
        OutputBusyError: another process wrote it in the meantime.
        StoreError: the store does not answer, or refuses.
    """
    store = _store(uri)
    with _errors_name(uri, "cannot be written"):
        try:
            if before is None:
                store.pipe_file(uri, content, mode="create")
            elif uri.startswith("s3://") and before.tag:
                bucket, key, _ = store.split_path(uri)
                store.call_s3(
                    "put_object", Bucket=bucket, Key=key, Body=content, IfMatch=before.tag
                )
            else:
                store.pipe_file(uri, content)
        except Exception as error:
            if _is_conflict(error):
                raise OutputBusyError(
                    f"{shown(uri)}: another process wrote it in the meantime; run again"
                ) from error
            raise
    return _there(uri)


def write(content: bytes, uri: str) -> None:
    """Write a small object, whatever is there.

    Raises:
        StoreError: the store does not answer, or refuses.
    """
    with _errors_name(uri, "cannot be written"):
        _store(uri).pipe_file(uri, content)


def remove(uri: str) -> None:
    """Remove an object, if it is there.

    Raises:
        StoreError: the store does not answer, or refuses.
    """
    with _errors_name(uri, "cannot be removed"), suppress(FileNotFoundError):
        _store(uri).rm_file(uri)


def _there(uri: str) -> Stored:
    found = look(uri)
    if found is None:
        raise StoreError(f"{shown(uri)}: written, and not there")
    return found


def _stored(found: dict[str, Any]) -> Stored:
    tag = next((str(found[name]) for name in _TAGS if found.get(name)), "")
    size = found.get("size")
    return Stored(None if size is None else int(size), tag)


def _repeatedly(attempt: Callable[[], None]) -> None:
    for left in reversed(range(_TRIES)):
        try:
            attempt()
        except StoreError as error:
            if not left or isinstance(error.__cause__, PermissionError | FileNotFoundError):
                raise
            time.sleep(_SECONDS_BETWEEN)
        else:
            return


def _is_conflict(error: Exception) -> bool:
    """Whether a store says that a condition does not hold (HTTP 409 or 412)."""
    if isinstance(error, FileExistsError):
        return True
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return code in ("PreconditionFailed", "ConditionalRequestConflict") or (
        getattr(error, "code", None) in (409, 412)
    )


@contextmanager
def _errors_name(uri: str, what: str) -> Iterator[None]:
    """Turn whatever the libraries raise into one line that names the object."""
    try:
        yield
    except (LitsError, FileNotFoundError, ImportError):
        raise
    except Exception as error:
        reason = _reason(error).replace(uri, shown(uri))
        raise StoreError(f"{shown(uri)}: {what}: {reason}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "access denied; credentials are taken from the environment"
    if type(error).__name__ == "NoCredentialsError":
        return "no credentials; they are taken from the environment"
    text = str(error)
    return brief(text) if text and "?" not in text else type(error).__name__


def _store(uri: str) -> Any:
    return _opened(uri.partition("://")[0], os.getpid())


@cache
def _opened(scheme: str, process: int) -> Any:
    """The file system of a scheme; a forked child opens its own."""
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme in ("http", "https"):
        import aiohttp

        waits = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
        options = {"client_kwargs": {"timeout": waits}}
    return fsspec.filesystem(scheme, **options)
