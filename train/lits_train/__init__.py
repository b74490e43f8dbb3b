"""Train a 2D RegNetY-400MF segmenter on LiTS-style NIfTI volumes."""
