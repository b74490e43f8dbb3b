"""Scans made for tests: affines, orientations, noise, files."""

import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

LPS_AFFINE = np.array([[-0.7, 0, 0.0, 100], [0, -0.8, 0.02, 90], [0, 0.02, 2.5, -40], [0, 0, 0, 1]])


AXIS_CODES = [
    "".join(codes)
    for axes in itertools.permutations(("LR", "PA", "SI"))
    for codes in itertools.product(*axes)
]


def reorient(
    stored: NDArray[np.int16], affine: NDArray[np.float64], codes: str
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """An LPS volume and its affine in another of the 48 axis orders and flips."""
    transform = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
    return (
        np.ascontiguousarray(apply_orientation(stored, transform)),
        affine @ inv_ornt_aff(transform, stored.shape),
    )


def random_hu(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Noise that crosses the tiny model's thresholds."""
    return np.random.default_rng(seed).integers(-200, 300, shape).astype(np.int16)


def load_nifti(path: Path) -> Any:
    """nibabel's image; its annotations promise less than it has."""
    return nib.load(path)


def save(path: Path, values: NDArray[Any], affine: NDArray[np.float64], **header: Any) -> Path:
    nib.save(nib.Nifti1Image(values, affine, **header), path)
    return path


def write_scan(path: Path, seed: int = 0, shape: tuple[int, int, int] = (12, 11, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(random_hu(shape, seed), LPS_AFFINE), path)
    return path
