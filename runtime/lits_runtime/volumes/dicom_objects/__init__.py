"""DICOM objects about a series: segmentation, structured report, overlay pictures, contours."""
