"""LiTS-style data sets: downloading, finding, checking, repairing and reporting on them."""
