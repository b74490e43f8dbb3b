"""LiTS-style data sets: found, checked, repaired, downloaded, described."""
