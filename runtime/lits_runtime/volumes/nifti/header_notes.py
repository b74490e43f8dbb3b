"""What is odd about orientation and purpose in a NIfTI header."""

import re
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError

from lits_runtime.messages import printable

_LABEL_INTENT = 1002


def header_notes(header: Any) -> list[str]:
    """What is odd about nibabel's header of a file, one line each."""
    return [*_form_warnings(header), *_purpose_warnings(header)]


def _purpose_warnings(header: Any) -> list[str]:
    if int(header["intent_code"]) == _LABEL_INTENT:
        return ["the header declares a label map (intent code 1002), not a CT"]
    described = bytes(header["descrip"].tobytes()).partition(b"\0")[0].decode("latin-1")
    if re.search(r"(^|;)T[ER]=\d", described):  # as dcm2niix writes it
        return [f"the header describes an MR image: {printable(described)}"]
    return []


def _form_warnings(header: Any) -> list[str]:
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if not sform and not qform:
        return ["neither sform nor qform is set: the orientation is a guess"]
    if not (sform and qform):
        return []
    try:
        with np.errstate(all="ignore"):
            by_sform, by_qform = header.get_sform(), header.get_qform()
    except (HeaderDataError, ValueError):
        return ["the qform is not a rotation: the sform is used"]
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.array(header.get_data_shape()[:3])
    apart_mm = float(np.linalg.norm((corners @ (by_sform - by_qform).T)[:, :3], axis=1).max())
    if apart_mm < 0.5 * min(header.get_zooms()[:3]):  # a qform cannot hold shear, and rounds
        return []
    return [f"sform and qform place the volume up to {apart_mm:.1f} mm apart: the sform is used"]
