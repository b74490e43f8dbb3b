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
        corners = _corners(lines[first_line[which][:, None] + np.arange(height)])
        squared[which] = _longest_squared(corners, gram)
    for region in np.flatnonzero(~few).tolist():
        begin = first_line[region]
        corners = _corners(lines[begin : begin + heights[region]])
        squared[region] = _longest_squared(_hull(corners), gram)
    return np.sqrt(squared)


def _corners(lines: NDArray[np.integer]) -> NDArray[np.integer]:
    """(..., rows, 3) lines to (..., 4 * rows, 2) corners (column, row)."""
    row, first, past = lines[..., 0], lines[..., 1], lines[..., 2]
    pairs = [(first, row), (first, row + 1), (past, row), (past, row + 1)]
    return np.concatenate([np.stack(pair, -1) for pair in pairs], -2)


def _longest_squared(
    corners: NDArray[np.integer], gram: NDArray[np.float64]
) -> NDArray[np.float64]:
    apart = (corners[..., :, None, :] - corners[..., None, :, :]).astype(np.float64)
    x, y = apart[..., 0], apart[..., 1]
    squared = gram[0, 0] * x * x + 2 * gram[0, 1] * x * y + gram[1, 1] * y * y
    longest: NDArray[np.float64] = squared.max((-2, -1))
    return longest


def _hull(corners: NDArray[np.integer]) -> NDArray[np.integer]:
    """Those corners that bound the convex hull, (n, 2), by Andrew's monotone chain."""
    points = sorted(set(map(tuple, corners.tolist())), key=lambda point: point[::-1])
    return np.array(_chain(points) + _chain(points[::-1]))


def _chain(points: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    hull: list[tuple[int, ...]] = []
    for x, y in points:
        while len(hull) > 1:
            (ax, ay), (bx, by) = hull[-2], hull[-1]
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                break
            hull.pop()
        hull.append((x, y))
    return hull
