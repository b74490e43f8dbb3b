"""The longest diameter of regions in a plane, between the outer corners of their pixels."""

import numpy as np
from numpy.typing import NDArray

_FEW_ROWS = 8
"""Regions of so few rows are measured all at once, by all pairs of their corners."""


def longest_diameters_mm(
    ids: NDArray[np.integer],
    rows: NDArray[np.integer],
    columns: NDArray[np.integer],
    step_mm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Longest distance between corners of pixels, (regions,), for regions without empty rows.

    Args:
        ids: (pixels,) region of each pixel, from 0.
        rows: (pixels,) ascending.
        columns: (pixels,) ascending in each row.
        step_mm: (3, 2), the world vectors from one column and one row to the next.

    >>> rows, columns = np.nonzero(np.ones((3, 4)))
    >>> longest_diameters_mm(np.zeros(12, int), rows, columns, np.eye(3, 2))
    array([5.])
    """
    order = np.argsort(ids, kind="stable")  # by region, then row, then column
    ids, rows, columns = ids[order], rows[order], columns[order]
    starts = np.flatnonzero(np.r_[True, (ids[1:] != ids[:-1]) | (rows[1:] != rows[:-1])])
    stops = np.r_[starts[1:], len(ids)] - 1
    lines = np.stack([rows[starts], columns[starts], columns[stops] + 1], 1)
    # One row of one region each: row, first column, one past the last.
    first_line = np.flatnonzero(np.r_[True, np.diff(ids[starts]) > 0])
    heights = np.diff(np.r_[first_line, len(lines)])
    gram = step_mm.T @ step_mm
    squared = np.zeros(len(first_line))
    few = heights <= _FEW_ROWS
    for height in np.unique(heights[few]).tolist():
        which = np.flatnonzero(few & (heights == height))
        left, right = _outline(lines[first_line[which][:, None] + np.arange(height)])
        squared[which] = _longest_squared(np.concatenate([left, right], -2), gram)
    for region in np.flatnonzero(~few).tolist():
        begin = first_line[region]
        left, right = _outline(lines[begin : begin + heights[region]])
        hull = _chain(right.tolist()) + _chain(left[::-1].tolist())
        squared[region] = _longest_squared(np.array(hull), gram)
    return np.sqrt(squared)


def _outline(lines: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Outermost corners (column, row), left and right, of (..., rows, 3) lines.

    Each is (..., rows + 1, 2): one corner on each edge between rows, and at both ends.
    """
    row, first, past = lines[..., 0], lines[..., 1], lines[..., 2]
    edges = np.concatenate([row, row[..., -1:] + 1], -1)
    left, right = (
        outer(np.concatenate([ends[..., :1], ends], -1), np.concatenate([ends, ends[..., -1:]], -1))
        for outer, ends in ((np.minimum, first), (np.maximum, past))
    )
    return np.stack([left, edges], -1), np.stack([right, edges], -1)


def _longest_squared(
    corners: NDArray[np.integer], gram: NDArray[np.float64]
) -> NDArray[np.float64]:
    apart = (corners[..., :, None, :] - corners[..., None, :, :]).astype(np.float64)
    x, y = apart[..., 0], apart[..., 1]
    squared = gram[0, 0] * x * x + 2 * gram[0, 1] * x * y + gram[1, 1] * y * y
    longest: NDArray[np.float64] = squared.max((-2, -1))
    return longest


def _chain(points: list[list[int]]) -> list[list[int]]:
    """Those points, in the order of their rows, that bound the convex hull on one side.

    Source: A. M. Andrew, Another efficient algorithm for convex hulls in two dimensions, 1979.
    """
    hull: list[list[int]] = []
    for x, y in points:
        while len(hull) > 1:
            (ax, ay), (bx, by) = hull[-2], hull[-1]
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                break
            hull.pop()
        hull.append([x, y])
    return hull
