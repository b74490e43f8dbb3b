"""What a scan may be given as: every form gives the same HU, and everything else is one error."""

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lits_runtime import VolumeError
from lits_runtime.volumes.scan import Scan
from support.files.scans import LPS_AFFINE as AFFINE
from support.files.scans import load_nifti, random_hu

HU = random_hu((5, 4, 3))
FORMS = r"expected a path, a file opened with 'rb', a nibabel image, or a tuple"


class BytesPath:
    """A path as the system knows it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return bytes(self.path)


def accepted(folder: Path) -> dict[str, Any]:
    path = folder / "scan.nii.gz"
    nib.save(nib.Nifti1Image(HU, AFFINE), path)
    mapped = np.memmap(folder / "hu", "<i2", "w+", shape=HU.shape)
    mapped[:] = HU
    frozen = HU.copy()
    frozen.flags.writeable = False
    types = ("i8", "i4", ">i2", ">i8", "f2", "f4", ">f4", "f8", ">f8", "longdouble")
    arrays: dict[str, Any] = {name: HU.astype(name) for name in types}
    arrays |= {
        "lists": HU.tolist(),
        "Fortran order": np.asfortranarray(HU),
        "strided": np.repeat(HU, 2, axis=1)[:, ::2],
        "backwards": HU[::-1].copy()[::-1],
        "read-only": frozen,
        "memory-mapped": mapped,
        "unmasked": np.ma.masked_array(HU),
        "one time point": HU[..., None, None],
        "unsigned": HU.clip(0).astype("u8"),
    }
    images: dict[str, Any] = {
        "path": path,
        "bytes path": BytesPath(path),
        "file object": io.BytesIO(path.read_bytes()),
        "image": load_nifti(path),
        "MGH image": nib.MGHImage(HU.astype(np.float32), AFFINE),
    }
    return images | {name: (values, AFFINE) for name, values in arrays.items()}


def test_every_form_of_a_scan_gives_the_same_hu(tmp_path: Path) -> None:
    for name, source in accepted(tmp_path).items():
        wanted = HU.clip(0) if name == "unsigned" else HU
        for loaded in (False, True):
            scan = Scan.open(source)
            slab = (scan.load() if loaded else scan).read_slab(0, 3)
            assert slab.dtype == np.float32, name
            np.testing.assert_array_equal(slab, wanted.transpose(2, 1, 0), err_msg=name)


WRONG_TYPES: list[Any] = [
    b"...",
    bytearray(b"..."),
    HU,
    HU.tolist(),
    [HU, AFFINE],
    (HU,),
    (HU, AFFINE, 1),
    (),
    (AFFINE, HU),
    None,
    7,
    {"scan": HU},
    Scan,
    nib.GiftiImage(),
    ([[1], [1, 2]], AFFINE),
]


@pytest.mark.parametrize("source", WRONG_TYPES, ids=lambda source: type(source).__name__)
def test_what_is_no_scan_is_told_the_forms_of_one(source: Any) -> None:
    with pytest.raises(VolumeError, match=FORMS):
        Scan.open(source)


WRONG_VALUES: dict[str, Any] = {
    "are not HU": HU.astype("i8") + 2**32,
    "are not  HU": np.full((3, 3, 3), 2**64 - 1, "u8"),
    "array of bool": HU > 0,
    "array of complex128": HU + 1j,
    "array of object": HU.astype(object),
    "array of <U6": HU.astype(str),
    "array of datetime64": np.zeros((3, 3, 3), "M8[s]"),
    "array.filled": np.ma.masked_array(HU, HU > 250),
    "2 dimensions": HU[0],
    "4 dimensions": np.stack([HU, HU], -1),
    "expected one volume": np.zeros((0, 3, 3), "i2"),
    "not finite": np.full((3, 3, 3), np.nan),
    "not  finite": np.full((3, 3, 3), np.longdouble("1e400")),
    "not   finite": np.full((3, 3, 3), np.inf, np.float16),
}


@pytest.mark.parametrize("message", WRONG_VALUES)
def test_values_that_are_no_hu_are_refused_and_never_wrap(message: str) -> None:
    with pytest.raises(VolumeError, match=" ".join(message.split())):
        Scan.open((WRONG_VALUES[message], AFFINE)).read_slab(0, 3)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("words")
    closed = (tmp_path / "text").open("rb")
    closed.close()
    with (tmp_path / "text").open() as text:
        cases: list[tuple[Any, str]] = [
            (tmp_path, "no CT series among 1 files"),
            ("", "a folder"),
            ("a\0b", "null"),
            (text, "open it with 'rb'"),
            (io.StringIO("words"), "open it with 'rb'"),
            (closed, "closed file"),
        ]
        for source, message in cases:
            with pytest.raises(VolumeError, match=message):
                Scan.open(source)
