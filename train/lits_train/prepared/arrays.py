"""The arrays of a prepared case: their files, written whole and checked before they are read."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import DatasetError
from lits_runtime.files.atomic import atomic_path
from lits_runtime.files.regular_file import open_regular
from lits_runtime.files.stable_file import FileState
from lits_runtime.messages import brief
from lits_train.limits import shown

_INT16 = np.iinfo(np.int16)


def check_array(path: Path, shape: tuple[int, int, int], dtype: type[np.generic]) -> FileState:
    """Check that an array's file is complete and of this shape, and return its state.

    Raises:
        DatasetError: it is not.
    """
    try:
        with open_regular(path) as file:
            state = FileState.of(file)
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("not a .npy file of version 1.0")
            found = np.lib.format.read_array_header_1_0(file)
            planes_from = file.tell()
    except (OSError, ValueError, EOFError, RecursionError, MemoryError, SyntaxError) as error:
        raise DatasetError(
            f"{path}: missing or damaged, prepare it again: {brief(error)}"
        ) from error
    if found != (shape, False, np.dtype(dtype)):
        raise DatasetError(
            f"{path}: {found[2]} {shown(found[0])}, expected {np.dtype(dtype)} {shape}; prepare it "
            "again"
        )
    needed = planes_from + math.prod(shape) * np.dtype(dtype).itemsize
    if state.size != needed:
        raise DatasetError(
            f"{path}: missing or damaged, prepare it again: {state.size} bytes, expected {needed}"
        )
    return state


def array_paths(folder: Path, case_id: str) -> tuple[Path, Path, Path]:
    """Paths of the HU, labels and shares of a case."""
    hu, labels, shares = (folder / f"{kind}-{case_id}.npy" for kind in ("hu", "labels", "shares"))
    return hu, labels, shares


def check_case_id(case_id: str) -> None:
    """Raise DatasetError unless files can be named after the case."""
    if not case_id or not case_id.isprintable() or set(case_id) & set("/\\"):
        raise DatasetError(
            f"case ID {brief(case_id)!r}: expected characters that a file name may have"
        )


@contextmanager
def array_file(
    path: Path, shape: tuple[int, int, int], dtype: type[np.generic]
) -> Iterator[Callable[[int, NDArray[Any]], None]]:
    """A .npy file that appears if the block succeeds.

    Yields a function that writes slices (n, height, width) from an index on, in any order. The file
    is written, not memory-mapped, so that a full disk raises an `OSError` instead of a signal.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start, plane = file.tell(), shape[1] * shape[2] * np.dtype(dtype).itemsize

        def write(first: int, slices: NDArray[Any]) -> None:
            file.seek(start + first * plane)
            file.write(np.ascontiguousarray(slices, dtype).data)

        yield write


def rounded_hu(hu: NDArray[np.floating]) -> NDArray[np.int16]:
    """HU as int16, rounded and clipped to its range."""
    rounded: NDArray[np.int16] = np.rint(hu).clip(_INT16.min, _INT16.max).astype(np.int16)
    return rounded
