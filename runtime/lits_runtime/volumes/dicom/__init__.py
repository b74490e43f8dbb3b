"""DICOM: series in, segmentations and reports out; the only room that knows pydicom and highdicom."""
