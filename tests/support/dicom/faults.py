"""Faulty CT series, each with what is true of it: the volume, or why it must be refused.

Run as a program it writes all of them into a folder: python -m support.dicom.faults FOLDER
"""

import copy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from support.dicom.ct import AFFINE, body_hu, save, set_all, set_pixels, slices_of, uid
from support.dicom.objects import litter, multi_frame, with_directory

Volume = tuple[NDArray[np.int16], NDArray[np.float64]]


@dataclass(frozen=True)
class Truth:
    """What a reader must make of a series."""

    volumes: tuple[Volume, ...] = ()
    """HU (i, j, k) and affine of each volume; none if it must be refused."""
    refused: str = ""
    """Words of the message."""
    notes: tuple[str, ...] = ()
    """Words of the notes, in order."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the reader."""
    ours: str = "right"
    """For the table of readers."""


FAULTS: dict[str, Callable[[Path], Truth]] = {}


def fault(name: str) -> Callable[[Callable[[Path], Truth]], Callable[[Path], Truth]]:
    """Register a fault under its name."""

    def register(make: Callable[[Path], Truth]) -> Callable[[Path], Truth]:
        FAULTS[name] = make
        return make

    return register


HU = body_hu()
PLAIN = Truth(((HU, AFFINE),))


@fault("none")
def plain(folder: Path) -> Truth:
    save(slices_of(HU), folder)
    return PLAIN


@fault("one slice missing")
def missing(folder: Path) -> Truth:
    save(slices_of(HU)[:9] + slices_of(HU)[10:], folder)
    return Truth(refused="1 slice is missing, between -290.5 and -285.5 mm", ours="refused")


@fault("one slice missing, to be filled in")
def filled(folder: Path) -> Truth:
    missing(folder)
    hu = HU.copy()
    hu[..., 9] = np.rint((HU[..., 8].astype(float) + HU[..., 10]) / 2)
    note = "1 missing slice interpolated linearly between neighbours: slice 10 of 24"
    return Truth(((hu, AFFINE),), notes=(note,), options={"fill_missing": True})


@fault("six slices missing")
def many_missing(folder: Path) -> Truth:
    save(slices_of(HU)[:9] + slices_of(HU)[15:], folder)
    return Truth(refused="too many to fill in", options={"fill_missing": True}, ours="refused")


@fault("same file twice")
def twice(folder: Path) -> Truth:
    save([*slices_of(HU), *slices_of(HU)[4:7]], folder)
    return PLAIN


@fault("same position, other UID")
def same_position(folder: Path) -> Truth:
    extra = copy.deepcopy(slices_of(HU)[4])
    extra.SOPInstanceUID = uid("extra")
    save([*slices_of(HU), extra], folder)
    return Truth(refused="1 position with 2 images each, which no", ours="refused")


@fault("two phases in one series")
def two_phases(folder: Path) -> Truth:
    later = (HU + 40).astype(np.int16)
    slices, others = slices_of(HU), slices_of(later)
    for k, one in enumerate(others):
        one.SOPInstanceUID, one.AcquisitionNumber = uid("later", k), 2
    save(slices + others, folder)
    return Truth(((HU, AFFINE), (later, AFFINE)), ours="two volumes")


@fault("two phases that only times tell apart, each slice with its own")
def phases_by_time(folder: Path) -> Truth:
    later = (HU + 40).astype(np.int16)
    slices, others = slices_of(HU), slices_of(later)
    for k, (one, other) in enumerate(zip(slices, others, strict=True)):
        other.SOPInstanceUID = uid("later", k)
        one.AcquisitionTime, other.AcquisitionTime = f"1015{k:02d}", f"1017{k:02d}"
    save(slices + others, folder)
    return Truth(((HU, AFFINE), (later, AFFINE)), ours="two volumes")


@fault("two kernels and two phases in one series")
def four_volumes(folder: Path) -> Truth:
    volumes, slices = [], []
    for number in range(4):
        hu = (HU + 20 * number).astype(np.int16)
        part = slices_of(hu)
        for k, one in enumerate(part):
            one.SOPInstanceUID = uid("part", number, k)
            one.AcquisitionNumber, one.ConvolutionKernel = number // 2, f"B{number % 2 * 30 + 30}f"
        slices += part
        volumes.append((hu, AFFINE))
    save(slices, folder)
    return Truth(tuple(volumes), ours="four volumes")


@fault("spacing varies")
def varies(folder: Path) -> Truth:
    slices = slices_of(HU)
    for k, one in enumerate(slices):
        one.ImagePositionPatient = [-131.25, -97.5, -310.5 + 2.5 * k + (0.7 * max(k - 12, 0))]
    save(slices, folder)
    return Truth(refused="steps of 2.5 to 3.2 mm between slices, which are not", ours="refused")


@fault("slices shifted in plane")
def shifted(folder: Path) -> Truth:
    slices = slices_of(HU)
    set_all(slices[7:], ImagePositionPatient=None)
    for k, one in enumerate(slices[7:], 7):
        one.ImagePositionPatient = [-121.25, -97.5, -310.5 + 2.5 * k]
    save(slices, folder)
    return Truth(refused="mm off the line through the first and the last", ours="refused")


@fault("positions rounded to hundredths")
def rounded(folder: Path) -> Truth:
    affine = AFFINE.copy()
    affine[2, 2] = 35 / 23
    slices = slices_of(HU, affine)
    for one in slices:
        one.ImagePositionPatient = [round(float(x), 2) for x in one.ImagePositionPatient]
    save(slices, folder)
    return Truth(((HU, affine),))


@fault("gantry tilt")
def tilt(folder: Path) -> Truth:
    affine = AFFINE.copy()
    affine[1, 2] = 0.9
    save(slices_of(HU, affine), folder)
    return Truth(((HU, affine),), notes=("gantry tilt of 19.8 degrees",))


@fault("localiser mixed in")
def localiser(folder: Path) -> Truth:
    scout = _coronal(1)
    scout[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(slices_of(HU) + scout, folder)
    return PLAIN


@fault("derived reformat in the same series")
def reformat(folder: Path) -> Truth:
    others = _coronal(32)
    set_all(others, ImageType=["DERIVED", "SECONDARY", "MPR"])
    save(slices_of(HU) + others, folder)
    return Truth(((HU, AFFINE), _coronal_truth(32)), ours="two volumes")


@fault("coronal series")
def coronal(folder: Path) -> Truth:
    save(_coronal(32), folder)
    return Truth((_coronal_truth(32),))


@fault("feet first, head to feet, numbers backwards")
def backwards(folder: Path) -> Truth:
    slices = slices_of(HU)
    for number, one in enumerate(reversed(slices)):
        one.InstanceNumber = number
    save(reversed(slices), folder)
    return PLAIN


@fault("rescale differs per slice")
def rescale(folder: Path) -> Truth:
    slices = slices_of(HU)
    for k, one in enumerate(slices):
        stored = np.frombuffer(one.PixelData, "<u2").astype(int) * 2
        if k % 2:
            set_pixels(one, stored + 2 * 24, "<u2")
            one.RescaleSlope, one.RescaleIntercept = 0.5, -1048
            one.BitsStored, one.HighBit = 16, 15
    save(slices, folder)
    return PLAIN


@fault("slope that is no whole number")
def slope(folder: Path) -> Truth:
    slices = slices_of(HU)
    set_all(slices, RescaleSlope="0.25", RescaleIntercept="-1024.5", BitsStored=16, HighBit=15)
    for one in slices:
        set_pixels(one, np.frombuffer(one.PixelData, "<u2").astype(int) * 4 + 2, "<u2")
    save(slices, folder)
    return PLAIN


@fault("signed, without intercept")
def signed(folder: Path) -> Truth:
    slices = slices_of(HU)
    for k, one in enumerate(slices):
        set_pixels(one, HU[:, :, k].T, "<i2")
    set_all(slices, PixelRepresentation=1, RescaleIntercept=0, BitsStored=16, HighBit=15)
    save(slices, folder)
    return PLAIN


@fault("overlay in the unused bits")
def overlay(folder: Path) -> Truth:
    slices = slices_of(HU)
    for one in slices:
        set_pixels(one, np.frombuffer(one.PixelData, "<u2") | 0x8000, "<u2")
    save(slices, folder)
    return PLAIN


@fault("padding of -2000 in a circle's corners")
def padding(folder: Path) -> Truth:
    hu, slices = HU.copy(), slices_of(HU)
    hu[:3, :3] = -1024
    for k, one in enumerate(slices):
        stored = HU[:, :, k].T.astype(int)
        stored[:3, :3] = -2000
        set_pixels(one, stored, "<i2")
        one.add_new(0x00280120, "US", 2**16 - 2000)
    set_all(slices, PixelRepresentation=1, RescaleIntercept=0, BitsStored=16, HighBit=15)
    save(slices, folder)
    return Truth(((hu, AFFINE),))


@fault("padding value amid those of tissue")
def padding_of_water(folder: Path) -> Truth:
    slices = slices_of(HU)
    for one in slices:
        one.add_new(0x00280120, "US", 1024)
    save(slices, folder)
    return Truth(((HU, AFFINE),), notes=("the padding value lies among those of tissue",))


@fault("enhanced multi-frame CT")
def enhanced(folder: Path) -> Truth:
    save([multi_frame(slices_of(HU))], folder)
    return PLAIN


@fault("other objects lying about, nested")
def lying_about(folder: Path) -> Truth:
    save(slices_of(HU), folder / "a" / "b.c")
    litter(folder)
    return PLAIN


@fault("ZIP archive")
def archive(folder: Path) -> Truth:
    inside = folder.with_name(f"{folder.name} unpacked")
    lying_about(inside)
    shutil.make_archive(str(folder), "zip", inside)
    shutil.rmtree(inside)
    folder.with_name(f"{folder.name}.zip").rename(folder)
    return PLAIN


@fault("DICOMDIR")
def directory(folder: Path) -> Truth:
    with_directory(slices_of(HU), folder)
    return PLAIN


@fault("a slice cut short")
def cut_short(folder: Path) -> Truth:
    paths = save(slices_of(HU), folder)
    content = paths[5].read_bytes()
    paths[5].write_bytes(content[:-600])
    return Truth(refused="truncated: 600 bytes of pixels are missing", ours="refused")


@fault("a slice that is damaged")
def damaged(folder: Path) -> Truth:
    paths = save(slices_of(HU), folder)
    paths[5].write_bytes(paths[5].read_bytes()[:900])
    return Truth(refused="1 slice is missing", ours="refused")


def _coronal(rows: int) -> list[Dataset]:
    hu, affine = _coronal_truth(rows)
    slices = slices_of(hu, affine)
    for k, one in enumerate(slices):
        one.SOPInstanceUID = uid("coronal", k)
    return slices


def _coronal_truth(rows: int) -> Volume:
    """The volume seen from the front: rows from head to feet, slices from front to back."""
    hu = np.ascontiguousarray(HU[:, :rows, ::-1].transpose(0, 2, 1))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = AFFINE[:3, 0], -AFFINE[:3, 2], AFFINE[:3, 1]
    affine[:3, 3] = (AFFINE @ [0, 0, HU.shape[2] - 1, 1])[:3]
    return hu, affine


if __name__ == "__main__":
    for one_name, make_one in FAULTS.items():
        make_one(Path(sys.argv[1]) / one_name)
