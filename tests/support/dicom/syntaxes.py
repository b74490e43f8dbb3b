"""A CT series written in each transfer syntax, losslessly, by four different encoders."""

import base64
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import gdcm  # type: ignore[import-untyped]
import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from support.dicom.ct import save
from support.dicom.htj2k import FRAMES

Writer = Callable[[Sequence[Dataset], Path], object]
_JPEG_PROCESS_14, _JPEG_FIRST_ORDER = UID("1.2.840.10008.1.2.4.57"), UID("1.2.840.10008.1.2.4.70")
_HTJ2K = UID("1.2.840.10008.1.2.4.201")


def _plain(syntax: UID) -> Writer:
    def write(slices: Sequence[Dataset], folder: Path) -> None:
        for one in slices:
            one.file_meta.TransferSyntaxUID = syntax
        save(slices, folder)

    return write


def _big_endian(slices: Sequence[Dataset], folder: Path) -> None:
    for one in slices:
        one.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
    save(slices, folder)


def _by_pydicom(syntax: UID) -> Writer:
    def write(slices: Sequence[Dataset], folder: Path) -> None:
        for one in slices:
            one.compress(syntax, generate_instance_uid=False)
        save(slices, folder)

    return write


def _by_gdcm(syntax: int) -> Writer:
    def write(slices: Sequence[Dataset], folder: Path) -> None:
        for path in save(slices, folder):
            reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), None
            reader.SetFileName(str(path))
            assert reader.Read()
            change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
            change.SetInput(reader.GetImage())
            assert change.Change()
            writer = gdcm.ImageWriter()
            writer.SetFile(reader.GetFile())
            writer.SetFileName(str(path))
            writer.SetImage(change.GetOutput())
            assert writer.Write()

    return write


def _by_dcmtk(*command: str) -> Writer:
    def write(slices: Sequence[Dataset], folder: Path) -> None:
        for path in save(slices, folder):
            subprocess.run([*command, "+un", str(path), str(path)], check=True)

    return write


def _htj2k(slices: Sequence[Dataset], folder: Path) -> None:
    """The frames were encoded once, see `dicom_htj2k`: no encoder is at hand."""
    for one, frame in zip(slices, FRAMES, strict=True):
        one.file_meta.TransferSyntaxUID = _HTJ2K
        one.PixelData = encapsulate([base64.b64decode(frame)])
        one["PixelData"].VR = "OB"
    save(slices, folder)


def without_meta_header(slices: Sequence[Dataset], folder: Path) -> None:
    """Implicit VR from the first byte on: no preamble, no meta header."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(slices):
        del one.file_meta
        with (folder / f"{number}.img").open("wb") as file:
            dcmwrite(file, one, implicit_vr=True, little_endian=True)


WRITERS: dict[str, Writer] = {
    "implicit VR": _plain(ImplicitVRLittleEndian),
    "implicit VR without meta header": without_meta_header,
    "big-endian": _big_endian,
    "deflated": _plain(DeflatedExplicitVRLittleEndian),
    "RLE": _by_pydicom(RLELossless),
    "JPEG-LS": _by_pydicom(JPEGLSLossless),
    "JPEG 2000": _by_pydicom(JPEG2000Lossless),
    "JPEG lossless .57, dcmcjpeg": _by_dcmtk("dcmcjpeg", "+el"),
    "JPEG lossless .70, dcmcjpeg": _by_dcmtk("dcmcjpeg", "+e1"),
    "JPEG lossless .70, gdcm": _by_gdcm(gdcm.TransferSyntax.JPEGLosslessProcess14_1),
    "JPEG-LS, dcmcjpls": _by_dcmtk("dcmcjpls"),
    "JPEG 2000, gdcm": _by_gdcm(gdcm.TransferSyntax.JPEG2000Lossless),
    "HTJ2K": _htj2k,
}
