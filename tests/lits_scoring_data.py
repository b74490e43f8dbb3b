"""Where the organisers' example pair lies, if this machine has it."""

import os
from pathlib import Path

_SHARED = Path(__file__).parents[2] / "shared" / "data"
FOLDER = Path(os.environ.get("LITS_SHARED_DATA", _SHARED)) / "lits_scoring"
SUBMISSION, REFERENCE = FOLDER / "submission-1.nii.gz", FOLDER / "reference-1.nii.gz"
REASON = f"the organisers' example is not at {FOLDER}; set LITS_SHARED_DATA"
