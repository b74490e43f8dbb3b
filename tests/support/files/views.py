"""A scan with masks that is small enough to be drawn by hand."""

import numpy as np

from lits_tools.view.view_data import ViewData


def drawn_by_hand() -> ViewData:
    """A liver of 8 x 6 x 6 voxels of 4 x 1 x 2 mm with two lesions, one of them missed."""
    gt = np.zeros((12, 16, 20), np.uint8)
    gt[2:10, 4:10, 5:11] = 1
    gt[3:6, 5:8, 6:9] = 2
    gt[8, 5, 6] = 2
    pred = gt.copy()
    pred[8, 5, 6] = 1
    pred[4, 5, 6] = 1
    pred[4, 8, 9] = 2
    hu = np.where(gt > 0, 100, -1000).astype(np.int16)
    return ViewData("by hand", hu, pred, gt, (4.0, 1.0, 2.0), 0.008)
