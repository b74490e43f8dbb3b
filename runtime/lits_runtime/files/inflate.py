"""Gzip decompression by ISA-L."""

from typing import Any, BinaryIO, cast

from isal import igzip


def inflated(file: BinaryIO) -> BinaryIO:
    """The content of a file object from its start, decompressed if it is gzip."""
    start = file.read(2)
    file.seek(0)
    return gunzip(file) if start == b"\x1f\x8b" else file


def gunzip(file: BinaryIO) -> BinaryIO:
    """The decompressed content of a gzip file object, all of its members."""
    stream: Any = igzip.IGzipFile(fileobj=file, mode="rb")  # type: ignore[no-untyped-call]
    return cast(BinaryIO, stream)
