"""The import of nibabel without pydicom, in processes that are ours."""

import sys


def load_nibabel() -> None:
    """Import nibabel as if pydicom were not installed, which takes longer to import than itself.

    It needs pydicom for one kind of header extension alone, whose bytes are now copied like those
    of all others. For commands: in another's process nibabel stays as it is.
    """
    if "nibabel" not in sys.modules and "pydicom" not in sys.modules:
        sys.modules["pydicom"] = None  # type: ignore[assignment]  # makes its import fail
        try:
            import nibabel  # noqa: F401
        finally:
            del sys.modules["pydicom"]
