"""The stored numbers of a slice, from plain or compressed pixels."""

from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import LitsError, VolumeError
from lits_runtime.messages import brief
from lits_runtime.volumes.dicom.pixels.codestream import frame_problem
from lits_runtime.volumes.dicom.series import PixelLayout, SliceHeader
from lits_runtime.volumes.dicom.stored import quiet

_BIG_ENDIAN = "1.2.840.10008.1.2.2"


def stored_values(header: SliceHeader, file: IO[bytes], size: int) -> NDArray[Any]:
    """The numbers of a slice as stored, (rows, columns).

    Args:
        header: of the slice.
        file: its object, opened `plain`.
        size: of the object, inflated; no more is read than it has.

    Raises:
        VolumeError: it is truncated or damaged, or its transfer syntax cannot be decoded.
    """
    layout, name = header.layout, header.stored.name
    if header.pixels_at is None:
        raise VolumeError(f"{name}: no pixels")
    begin, count = header.pixels_at
    file.seek(begin)
    if count < 0:
        return _decompressed(header, _Clamped(file, size), name)
    content = file.read(max(min(count, size - begin), 0))
    if len(content) < count:
        raise VolumeError(f"{name}: truncated: {count - len(content)} bytes of pixels are missing")
    order = ">" if layout.transfer_syntax_uid == _BIG_ENDIAN else "<"
    kind = "i" if layout.signed else "u"
    values = np.frombuffer(content, f"{order}{kind}{layout.bits_allocated // 8}")
    return _without_unused_bits(values.reshape(layout.rows, layout.columns), layout)


def _without_unused_bits(values: NDArray[Any], layout: PixelLayout) -> NDArray[Any]:
    """Without what other bits than those of the pixel hold, such as an overlay."""
    above = layout.bits_allocated - 1 - layout.high_bit
    below = layout.bits_allocated - layout.bits_stored
    if not below:
        return values
    native = values.astype(values.dtype.newbyteorder("="))
    if not layout.signed:
        native >>= below - above
        native &= native.dtype.type(2**layout.bits_stored - 1)
        return native
    native <<= above
    native >>= below  # copies the sign of signed values
    return native


class _Clamped:
    """A file of which no more is asked for than it has, whatever lengths it states."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        rest = max(self._size - self._file.tell(), 0)
        return self._file.read(rest if count < 0 else min(count, rest))


def _decompressed(header: SliceHeader, file: _Clamped, name: str) -> NDArray[Any]:
    from pydicom.encaps import encapsulate, get_frame

    layout = header.layout
    try:
        with quiet():
            frames = {"number_of_frames": 1} if header.frame is None else {}
            frame = get_frame(cast(Any, file), header.frame or 0, **cast(Any, frames))
            if problem := frame_problem(frame, layout):
                raise VolumeError(f"{name}: damaged DICOM ({problem})")
            decoder = _decoder(layout.transfer_syntax_uid, name)
            values: NDArray[Any] = decoder.as_array(
                encapsulate([frame], has_bot=False), index=0, raw=True, **_options(layout)
            )[0]
    except (LitsError, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise _undecodable(name, error) from error
    except Exception as error:  # each decoder raises its own
        raise _undecodable(name, error) from error
    if values.shape != (layout.rows, layout.columns) or values.dtype.kind not in "iu":
        raise VolumeError(f"{name}: damaged DICOM (pixels of shape {values.shape})")
    return values


def _undecodable(name: str, error: Exception) -> VolumeError:
    return VolumeError(f"{name}: its compressed pixels cannot be decoded: {brief(error)}")


def _decoder(syntax: str, name: str) -> Any:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    try:
        decoder = get_decoder(UID(syntax))
    except NotImplementedError:
        raise VolumeError(
            f"{name}: the transfer syntax {brief(UID(syntax).name)}, which is not decoded; "
            "convert the series to another, for example with dcmdjpeg or gdcmconv"
        ) from None
    if not decoder.is_available:
        raise VolumeError(
            f"{name}: no decoder for {brief(UID(syntax).name)}: pip install 'lits-toolkit[dicom]'"
        )
    return decoder


def _options(layout: PixelLayout) -> dict[str, Any]:
    return {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_representation": int(layout.signed),
        "pixel_keyword": "PixelData",
    }
