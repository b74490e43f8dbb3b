"""Samples: the slices of an epoch, their order and their augmentation."""
