"""NIfTI files: header, voxels in stored order, and masks written under a scan's header."""
