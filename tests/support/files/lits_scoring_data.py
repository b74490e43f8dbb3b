"""Where the organisers' example pair lies, if this machine has it."""

from support.paths import SHARED_DATA

FOLDER = SHARED_DATA / "lits_scoring"
SUBMISSION, REFERENCE = FOLDER / "submission-1.nii.gz", FOLDER / "reference-1.nii.gz"
REASON = f"the organisers' example is not at {FOLDER}; set LITS_SHARED_DATA"
