"""The import of nibabel without pydicom."""

import sys


def load_nibabel() -> None:
    """Import nibabel as if pydicom were not installed, which takes longer to import than itself.

    nibabel needs pydicom for one kind of header extension alone, whose bytes are then copied like
    those of all others. Through requests, pydicom also opens a socket. What is already imported
    stays as it is.
    """
    if "nibabel" not in sys.modules and "pydicom" not in sys.modules:
        sys.modules["pydicom"] = None  # type: ignore[assignment]  # makes its import fail
        try:
            import nibabel  # noqa: F401
        finally:
            del sys.modules["pydicom"]
