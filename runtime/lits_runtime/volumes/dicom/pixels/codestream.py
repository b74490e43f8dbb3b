"""Whether a compressed frame holds the picture that its DICOM header announces.

Decoders are C libraries that allocate what a frame asks for. What is looked at here, before they
run, is the size of the picture in the headers of JPEG, JPEG-LS and JPEG 2000.
"""

from lits_runtime.volumes.dicom.series import PixelLayout

_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""SOF of JPEG, and SOF55 of JPEG-LS; C4, C8 and CC are others."""
_START_OF_SCAN = 0xDA
_END, _PADDING_BYTES = b"\xff\xd9", 16
"""All of these formats end alike; a decoder makes grey of what is missing, and warns at most."""


def frame_problem(frame: bytes, layout: PixelLayout) -> str | None:
    """What differs between a frame and its header; None if nothing does, or it is RLE."""
    if frame[:2] == b"\xff\xd8":
        found = _jpeg(frame)
    elif frame[:4] == b"\xff\x4f\xff\x51":
        found = _jpeg_2000(frame)
    elif layout.transfer_syntax_uid == "1.2.840.10008.1.2.5":
        return None
    else:
        return "its pixels are no JPEG, JPEG-LS or JPEG 2000"
    if found is None:
        return "a compressed frame without a size"
    if _END not in frame[-_PADDING_BYTES:]:
        return "a compressed frame without its end"
    rows, columns, components, bits = found
    if (rows, columns) != (layout.rows, layout.columns):
        return f"a compressed frame of {rows} x {columns} for {layout.rows} x {layout.columns}"
    if components != 1 or not 1 <= bits <= layout.bits_allocated:
        return f"a compressed frame of {components} components of {bits} bits"
    return None


def _jpeg(frame: bytes) -> tuple[int, int, int, int] | None:
    place, found = 2, None
    while place + 9 < len(frame):
        if frame[place] != 0xFF:
            return None
        marker = frame[place + 1]
        if marker == 0xFF:  # fill
            place += 1
            continue
        if marker in _FRAME_MARKERS:
            if found is not None:  # a second frame, hidden behind the first
                return None
            rows = int.from_bytes(frame[place + 5 : place + 7])
            columns = int.from_bytes(frame[place + 7 : place + 9])
            found = rows, columns, frame[place + 9], frame[place + 4]
        if marker == _START_OF_SCAN:
            return found
        place += 2 + int.from_bytes(frame[place + 2 : place + 4])
    return None


def _jpeg_2000(frame: bytes) -> tuple[int, int, int, int] | None:
    """From the SIZ segment, which is always the first; HTJ2K has the same."""
    if len(frame) < 44:
        return None
    right, bottom, left, top = (int.from_bytes(frame[at : at + 4]) for at in (8, 12, 16, 20))
    components = int.from_bytes(frame[40:42])
    return bottom - top, right - left, components, (frame[42] & 0x7F) + 1
