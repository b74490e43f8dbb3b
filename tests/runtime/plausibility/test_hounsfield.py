"""What is no CT of the trunk is told by where its values lie; what is one passes."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime import Options, Segmenter, VolumeError
from lits_runtime.phantom.ct import make_phantom
from lits_runtime.plausibility.hounsfield import value_warnings
from lits_runtime.plausibility.overview import Overview
from lits_runtime.volumes.scan import Scan
from support.networks.tiny_models import tiny_model
from support.paths import SHARED_DATA

Values = NDArray[np.float64]
Change = Callable[[Values], Values]


def overview_of(scan: Scan) -> NDArray[np.int16]:
    overview = Overview(scan.geometry)
    for run in scan.slabs(16):
        slab_hu = scan.slab_hu(run)
        labels = np.zeros(slab_hu.shape, np.uint8)
        overview.put_hu(run.start, overview.sample(run.start, slab_hu))
        overview.put_labels(run.start, labels)
    return overview.hu


@cache
def sources() -> dict[str, Values]:
    """Overviews of phantoms, and of CT where it is at hand."""
    found = {}
    for seed in range(2):
        phantom = make_phantom(seed, matrix=64, slices=24)
        found[f"phantom {seed}"] = overview_of(Scan.open((phantom.volume_hu, phantom.affine)))
    for name in ("totalsegmentator/example_ct", "lits_crop/volume-117"):
        if (path := SHARED_DATA / f"{name}.nii.gz").exists():
            found[name] = overview_of(Scan.open(path))
    return {name: hu.astype(float) for name, hu in found.items()}


def padded(at: int) -> Change:
    """With a round field of view, and this value around it."""

    def pad(hu: Values) -> Values:
        _, height, width = hu.shape
        rows, columns = np.ogrid[:height, :width]
        corner = np.hypot(rows / height - 0.5, columns / width - 0.5) > 0.5
        return np.where(corner, at, hu)

    return pad


def mr(air: float, gain: float, noise: float = 15) -> Change:
    """Bright fat, grey organs, dark bone and lung."""

    def image(hu: Values) -> Values:
        signal = np.interp(
            hu, [-300, -100, 0, 40, 60, 100, 300, 1000], [40, 700, 200, 300, 350, 500, 90, 20]
        )
        grain = np.random.default_rng(0).normal(0, noise, hu.shape)
        return np.where(hu < -300, air, gain * signal + air * (air > -900)) + grain

    return image


def noisy(sd: float) -> Change:
    return lambda hu: hu + np.random.default_rng(1).normal(0, sd, hu.shape)


def metal(hu: Values) -> Values:
    """Two hips of metal with their streaks."""
    hu = hu.copy()
    hu[:6, 30:34, 20:24] = hu[:6, 30:34, 42:46] = 3071
    hu[:6, 30:34, ::5] -= 600
    return hu


FINE: dict[str, Change] = {
    "as it is": lambda hu: hu,
    "padded at -1024": padded(-1024),
    "padded at -2000": padded(-2000),
    "padded at -3024": padded(-3024),
    "padded at -8192": padded(-8192),
    "padded twice": lambda hu: np.concatenate([padded(-2000)(hu[:9]), padded(-3024)(hu[9:])]),
    "low dose": noisy(60),
    "10 bits": lambda hu: hu.clip(-1024, 1023),
    "arterial": lambda hu: np.where((hu > 150) & (hu < 300), hu + 150, hu),
    "native": lambda hu: np.where((hu > 60) & (hu < 200), 45 + hu / 20, hu),
    "metal": metal,
}

FAULTY: dict[str, tuple[Change, str]] = {
    "no intercept": (lambda hu: hu + 1024, "air or lung"),
    "no intercept, padded": (lambda hu: padded(-2000)(hu + 1024), "besides padding at -2000"),
    "no intercept, padded at -3024": (lambda hu: padded(-3024)(hu + 1024), "at -3024"),
    "no intercept, padded at -8192": (lambda hu: padded(-8192)(hu + 1024), "at -8192"),
    "tenth": (lambda hu: padded(-2000)(hu / 10), "air or lung"),
    "tenfold": (lambda hu: hu * 10, "below -1300 HU"),
    "double": (lambda hu: hu * 2.5, "are below -1300|no intercept, scaled|of the body"),
    "half": (lambda hu: hu / 2, "peak at|between -600 and -200"),
    "inverted": (lambda hu: -hu, "of the body is over 300|peak at|air or lung"),
    "intercept twice": (lambda hu: hu - 1024, "below -1300 HU"),
    "a picture": (
        lambda hu: ((hu + 160) * 255 / 400).clip(0, 255),
        "air or lung|clipped to a window",
    ),
    "a picture, padded": (
        lambda hu: padded(-1024)(((hu + 160) * 255 / 400).clip(0, 255)),
        "clipped to a window|fat",
    ),
    "cut to a window": (lambda hu: hu.clip(-160, 160), "values end at 160 HU, at"),
    "MR from 0": (mr(0, 1), "air or lung"),
    "MR from 0, padded": (lambda hu: padded(-2000)(mr(0, 1)(hu)), "besides padding"),
    "MR, air at -1000": (mr(-1000, 0.4), "fat"),
    "MR, less its mean": (lambda hu: (m := mr(0, 1)(hu)) - m.mean(), "air or lung|peak at|bone"),
    "PET": (lambda hu: padded(-1024)(np.where(hu < -300, 0, hu.clip(0) * 70)), "air|fat|bone"),
    "a mask from -1024": (lambda hu: np.where(hu > 0, 2.0, -1024), "clipped to a window"),
}


def told(hu: Values) -> list[str]:
    return value_warnings(np.rint(hu.clip(-32768, 32767)).astype(np.int16))


@pytest.mark.slow
@pytest.mark.parametrize("name", FINE)
def test_what_ct_looks_like_passes(name: str) -> None:
    for source, hu in sources().items():
        assert told(FINE[name](hu)) == [], source


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_no_ct_is_told_once_with_what_was_seen(name: str) -> None:
    change, words = FAULTY[name]
    for source, hu in sources().items():
        warnings = told(change(hu))
        assert len(warnings) == 1, source
        assert any(word in warnings[0] for word in words.split("|")), (source, warnings)
        assert any(character.isdigit() for character in warnings[0])


def head() -> NDArray[np.int16]:
    """A skull of 7 mm around a brain, 16 x 20 cm, in a scalp: slices, height, width."""
    z, y, x = np.ogrid[:24, :128, :128]
    shrunk = np.sqrt(1 - (z / 30) ** 2)
    hu = np.full((24, 128, 128), -1000.0)
    for width, depth, value in ((83, 103, -80), (81, 101, 50), (77, 97, 900), (70, 90, 35)):
        inside = np.hypot((x - 64) * 1.8 / width, (y - 64) * 1.8 / depth) < shrunk
        hu[inside] = value
    return (hu + np.random.default_rng(0).normal(0, 6, hu.shape)).astype(np.int16)


def test_a_head_is_told_by_its_bone(tmp_path: Path) -> None:
    affine = np.diag([-1.8, -1.8, 5, 1])
    scan, mask = tmp_path / "scan.nii.gz", tmp_path / "out/mask.nii.gz"
    nib.save(nib.Nifti1Image(head().transpose(2, 1, 0), affine), scan)
    segmenter = Segmenter.open(tiny_model(), provider="cpu")
    report = segmenter.segment_file(scan, mask)
    assert "% of the body is over 300 HU" in report.warnings[0]
    assert "a head or limbs" in report.warnings[0]
    mask.unlink()
    with pytest.raises(VolumeError, match="of the body is over 300 HU"):
        segmenter.segment_file(scan, mask, Options(strict=True))
    assert list(mask.parent.iterdir()) == []


def test_an_overview_is_the_same_in_any_order_of_slabs() -> None:
    rng = np.random.default_rng(0)
    for shape in ((5, 6, 7), (700, 90, 65), (257, 64, 200)):
        hu = rng.integers(-90000, 90000, shape).astype(np.float32)
        labels = (hu > 0).astype(np.uint8)
        scan = Scan.open((np.zeros(shape[::-1], np.int16), np.diag([-1, -1, 1, 1])))
        whole = Overview(scan.geometry)
        whole.put_hu(0, whole.sample(0, hu))
        whole.put_labels(0, labels)
        assert all(kept <= most for kept, most in zip(whole.hu.shape, (128, 64, 64), strict=True))
        assert whole.hu.min() >= -32768 and np.array_equal(whole.hu > 0, whole.labels == 1)
        parts = Overview(scan.geometry)
        for start in reversed(range(0, shape[0], 13)):
            slab = slice(start, start + 13)
            parts.put_hu(start, parts.sample(start, hu[slab]))
            parts.put_labels(start, labels[slab])
        np.testing.assert_array_equal(parts.hu, whole.hu)
        np.testing.assert_array_equal(parts.labels, whole.labels)
