"""Where the project and its shared data are."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


SHARED_DATA = Path(os.environ.get("LITS_SHARED_DATA", ROOT.parent / "shared/data"))


OURS = {
    "lits_runtime": ROOT / "runtime/lits_runtime",
    "lits_train": ROOT / "train/lits_train",
    "lits_export": ROOT / "export/lits_export",
    "lits_tools": ROOT / "tools/lits_tools",
}
