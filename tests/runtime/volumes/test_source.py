"""The seam of formats: a third one, made up here, goes the way of NIfTI and of arrays."""

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime import Segmenter, VolumeError
from lits_runtime.files.atomic import NewFiles
from lits_runtime.labels import LABEL_VALUES
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.memory import ArraySink
from lits_runtime.volumes.open import open_sink, save_labels
from lits_runtime.volumes.scan import Scan
from lits_runtime.volumes.source import Content, LabelSink, Verified, VolumeSource
from support.files.scans import AXIS_CODES, LPS_AFFINE, load_nifti, random_hu, reorient, save
from support.networks.tiny_models import positional_model

CONTENT = Content(LABEL_VALUES)


class SeriesSource:
    """Planes kept one by one, unsigned and 1024 above HU, as a DICOM series keeps them."""

    in_memory = False
    origins = ()
    notes = ("made up",)

    def __init__(self, volume_hu: NDArray[np.int16], affine: NDArray[np.float64]) -> None:
        self.name = "series"
        self.geometry = Geometry((volume_hu.shape[0], *volume_hu.shape[1:]), affine)
        self.stored = [np.ascontiguousarray(plane) + 1024 for plane in volume_hu.T]
        self.dtype = np.dtype(np.int16)
        self.size_bytes = sum(plane.nbytes for plane in self.stored)
        self.closed = False

    @contextmanager
    def planes(self) -> Iterator["SeriesPlanes"]:
        yield SeriesPlanes(self.stored)

    def read(self, index: tuple[slice, slice, slice]) -> NDArray[Any]:
        return self.to_hu(np.stack(self.stored).T[index])

    def to_hu(self, stored: NDArray[Any]) -> NDArray[Any]:
        return stored - 1024

    def close(self) -> None:
        self.closed = True


class SeriesPlanes:
    def __init__(self, stored: list[NDArray[np.int16]]) -> None:
        self._waiting = list(stored)
        self._shape, self._digest = stored[0].shape, hashlib.sha256()

    def read(self, count: int) -> NDArray[Any]:
        planes, self._waiting = self._waiting[:count], self._waiting[count:]
        for plane in planes:
            self._digest.update(plane.tobytes())
        return np.array(planes, np.int16).reshape(count, *self._shape)

    def finish(self) -> Verified:
        assert not self._waiting
        return Verified(self._digest.hexdigest(), ("one plane was bent",))


class FramesSink:
    """Frames in canonical order, as DICOM SEG keeps them."""

    def __init__(self) -> None:
        self.frames: dict[int, NDArray[np.uint8]] = {}
        self.complete = False

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        self.frames.update(enumerate(labels, start))

    def finish(self) -> None:
        self.complete = True

    def close(self) -> None:
        pass


@pytest.mark.parametrize("codes", AXIS_CODES)
def test_a_scan_of_any_source_gives_its_canonical_slices(codes: str) -> None:
    volume, affine = reorient(random_hu((6, 5, 7)), LPS_AFFINE, codes)
    source: VolumeSource = SeriesSource(volume, affine)
    scan = Scan(source)
    expected = scan.geometry.to_canonical(volume).astype(np.float32)
    order = []
    for slab in scan.slabs(3, 1):
        slab_hu = scan.slab_hu(slab, 1)
        padded = np.pad(expected, ((1, 1), (0, 0), (0, 0)), mode="edge")
        np.testing.assert_array_equal(slab_hu, padded[slab.start : slab.stop + 2])
        order.append((slab.start, slab.stop))
    assert order == list(scan.geometry.slab_ranges(3))
    assert sorted(order) == [(0, 3), (3, 6), (6, 7)]
    np.testing.assert_array_equal(scan.read_slab(2, 5), expected[2:5])
    stored = np.ascontiguousarray(volume.T + 1024)
    assert scan.sha256 == hashlib.sha256(stored.tobytes()).hexdigest()
    assert (scan.notes, scan.warnings) == (("made up",), ["one plane was bent"])
    assert scan.streams == (codes[2] in "SI")


@pytest.mark.parametrize("codes", AXIS_CODES)
def test_all_sinks_get_the_same_mask(codes: str, tmp_path: Path) -> None:
    stored_lps = np.random.default_rng(1).integers(0, 3, (6, 5, 7)).astype(np.int16)
    stored, affine = reorient(stored_lps, LPS_AFFINE, codes)
    source = SeriesSource(stored, affine)
    labels = source.geometry.to_canonical(stored).astype(np.uint8)
    array, frames, path = ArraySink(source.geometry), FramesSink(), tmp_path / "mask.nii.gz"
    with NewFiles() as new, closing(open_sink(new.open(path), source, CONTENT)) as nifti:
        sinks: list[LabelSink] = [array, frames, nifti]
        for start, stop in source.geometry.slab_ranges(3):
            for sink in sinks:
                sink.put(start, labels[start:stop])
        for sink in sinks:
            sink.finish()
        new.close()
        new.take_names()
    image = load_nifti(path)
    np.testing.assert_array_equal(array.labels, stored)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), stored)
    np.testing.assert_array_equal([frames.frames[number] for number in range(7)], labels)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert frames.complete
    save_labels(tmp_path / "saved.nii.gz", array.labels, source, CONTENT)
    assert (tmp_path / "saved.nii.gz").read_bytes() == path.read_bytes()


def test_a_slope_is_what_a_stored_one_stands_for(tmp_path: Path) -> None:
    source = SeriesSource(random_hu((4, 4, 3)), LPS_AFFINE)
    parts = np.full((3, 4, 4), 51, np.uint8)
    with NewFiles() as new:
        content = Content({"lesion": 255}, 1 / 255)
        with closing(open_sink(new.open(tmp_path / "p.nii"), source, content)) as sink:
            sink.put(0, parts)
            sink.finish()
        new.close()
        new.take_names()
    np.testing.assert_allclose(load_nifti(tmp_path / "p.nii").get_fdata(), 0.2, atol=1e-6)


@pytest.mark.parametrize("codes", ["LPS", "LSP"])
def test_a_mask_that_is_not_finished_leaves_nothing(codes: str, tmp_path: Path) -> None:
    volume, affine = reorient(random_hu((4, 4, 3)), LPS_AFFINE, codes)
    source = SeriesSource(volume, affine)
    with NewFiles() as new, closing(open_sink(new.open(tmp_path / "m.nii.gz"), source, CONTENT)):
        pass
    assert not list(tmp_path.iterdir())


def test_an_affine_takes_the_place_of_the_headers(tmp_path: Path) -> None:
    affine = np.diag([-0.7, -0.7, -3.0, 1.0])
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(random_hu((4, 4, 3)), np.eye(4)), path)
    scan = Scan.open(path, affine=affine)
    assert scan.geometry == Geometry((4, 4, 3), affine)
    assert scan.source.geometry == Geometry((4, 4, 3), np.eye(4))
    lowest = scan.read_slab(0, 1)
    np.testing.assert_array_equal(lowest[0], random_hu((4, 4, 3))[:, :, 2].T)
    [*slabs] = scan.slabs(1)
    np.testing.assert_array_equal(scan.slab_hu(slabs[-1]), lowest)
    with pytest.raises(VolumeError, match="not span three directions"):
        Scan.open(path, affine=np.diag([0.0, 0, 0, 1]))


@pytest.mark.parametrize("codes", ["LPS", "RAI", "SPL", "ILP"])
def test_a_scan_of_any_source_is_segmented(codes: str, tmp_path: Path) -> None:
    """By the whole runtime, into memory and into a file, as the same scan from a NIfTI file is."""
    volume, affine = reorient(random_hu((9, 8, 7)), LPS_AFFINE, codes)
    save(tmp_path / "scan.nii", volume, affine)
    with Segmenter.open(positional_model(), provider="cpu") as segmenter:
        expected = segmenter.segment(tmp_path / "scan.nii")
        found = segmenter.segment(Scan(SeriesSource(volume, affine)))
        report = segmenter.segment_file(Scan(SeriesSource(volume, affine)), tmp_path / "a.nii.gz")
    found.save(tmp_path / "b.nii.gz")
    assert set(np.unique(expected.labels)) == {0, 1, 2}
    np.testing.assert_array_equal(found.labels, expected.labels)
    for name in ("a.nii.gz", "b.nii.gz"):
        image = load_nifti(tmp_path / name)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), expected.labels)
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert {"made up", "one plane was bent"} <= set(report.warnings)
    assert report.scan_sha256 is not None


def test_closing_a_scan_closes_its_source() -> None:
    source = SeriesSource(random_hu((4, 4, 3)), LPS_AFFINE)
    Scan(source).close()
    assert source.closed
