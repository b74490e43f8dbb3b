"""DICOM in tests: series, faults, objects, and the programs of the field."""
