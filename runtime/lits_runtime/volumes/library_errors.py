"""Errors of other libraries about damaged files, as a `VolumeError`."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from isal import isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from lits_runtime.errors import VolumeError
from lits_runtime.messages import printable

_UNREADABLE: tuple[Any, ...] = (EOFError, ValueError, OverflowError, zlib.error, isal_zlib.error)
_UNREADABLE += (ImageFileError, HeaderDataError, WrapStructError, TypeError, KeyError, IndexError)


@contextmanager
def as_volume_error(name: str, what: str) -> Iterator[None]:
    """Turn the errors of zlib, nibabel and NumPy about damaged bytes into a `VolumeError`.

    An `OSError` with a number (no such file, no permission) passes.

    Args:
        name: of the volume.
        what: is wrong with it, for example "truncated or damaged".
    """
    try:
        with np.errstate(all="ignore"):  # headers may hold NaN
            yield
    except VolumeError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        foreign = "Not a gzipped file" in str(error)  # where another member may follow
        reason = "bytes that are not gzip follow those that are" if foreign else str(error)
        raise VolumeError(f"{name}: {what}: {printable(reason)}") from error
    except _UNREADABLE as error:
        raise VolumeError(f"{name}: {what}: {printable(str(error))}") from error
