"""A node of DICOM: series come in from a PACS and become jobs, their results go back to it."""
