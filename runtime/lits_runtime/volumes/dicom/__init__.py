"""DICOM in and out: series, segmentations, reports; the only room with pydicom and highdicom."""
