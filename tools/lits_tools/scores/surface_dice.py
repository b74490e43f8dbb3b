"""Surface Dice by area: how much of two surfaces lies within a tolerance of each other.

After Nikolov et al. (2018), arXiv:1809.04430. The surface runs between voxels: at each corner where
eight voxels meet, its piece (a "surfel") is the polygon of marching cubes, weighted by its area in
mm^2, so that thick slices count no less than thin ones.
"""

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lits_tools.scores.overlap import Mask, check_same_shape, cropped
from lits_tools.scores.surface import Spacing, nearest_mm

_CORNERS = list(product((0, 1), repeat=3))
_OUTSIDE, _INSIDE = 0, 255  # none or all of the eight voxels around a corner belong to the mask

Point = tuple[float, ...]


def surface_dice(
    mask_pred: Mask, mask_gt: Mask, spacing_mm: Spacing, tolerances_mm: tuple[float, ...]
) -> tuple[float, ...]:
    """Share of both surfaces' area that lies within each tolerance of the other surface.

    1 where both masks are empty, 0 where one is.

    Args:
        mask_pred: bool (slices, height, width), or any axis order that `spacing_mm` shares.
        mask_gt: of the same shape.
        spacing_mm: voxel size per array axis.
        tolerances_mm: distances that still count as agreement.

    Raises:
        DatasetError: the shapes differ.
    """
    check_same_shape(mask_pred, mask_gt)
    if not mask_pred.any() or not mask_gt.any():
        return (float(mask_pred.any() == mask_gt.any()),) * len(tolerances_mm)
    table = surfel_areas(spacing_mm)
    code_pred, code_gt = (corner_codes(mask) for mask in cropped(mask_pred, mask_gt))
    on_pred, on_gt = ((code != _OUTSIDE) & (code != _INSIDE) for code in (code_pred, code_gt))
    area = np.concatenate([table[code_pred[on_pred]], table[code_gt[on_gt]]])
    distance_mm = np.concatenate(
        [nearest_mm(on_pred, on_gt, spacing_mm), nearest_mm(on_gt, on_pred, spacing_mm)]
    )
    return tuple(
        float(area[distance_mm <= tolerance].sum() / area.sum()) for tolerance in tolerances_mm
    )


def corner_codes(mask: Mask) -> NDArray[np.uint8]:
    """Which of the eight voxels around each voxel corner belong to a mask, as bits.

    Returns:
        uint8, each axis one longer than the mask's; 0 is outside, 255 inside, the rest surface.
    """
    codes: NDArray[np.uint8] = mask.view(np.uint8)
    for axis, bits in ((2, 1), (1, 2), (0, 4)):  # the order of the bits in _CORNERS
        before, after = codes, codes << np.uint8(bits)
        shape = [size + (place == axis) for place, size in enumerate(codes.shape)]
        codes = np.zeros(shape, np.uint8)
        np.moveaxis(codes, axis, 0)[1:] = np.moveaxis(before, axis, 0)
        np.moveaxis(codes, axis, 0)[:-1] |= np.moveaxis(after, axis, 0)
    return codes


def surfel_areas(spacing_mm: Spacing) -> NDArray[np.float64]:
    """Area of the surface in the cell of each of the 256 corner codes; float64 (256,), mm^2.

    >>> float(surfel_areas((1.0, 1.0, 1.0))[0b00001111])
    1.0
    """
    a, b, c = spacing_mm
    across = np.array([b * c, a * c, a * b])
    return np.array([np.linalg.norm(_normals(code) * across, axis=1).sum() for code in range(256)])


@cache
def _normals(code: int) -> NDArray[np.float64]:
    """Normals of a cell's triangles, their lengths the areas; float64 (triangles, 3).

    Where a face is ambiguous, voxels of the kind that is rarer in the cell are separated.
    """
    if code.bit_count() > 4:
        code = _INSIDE - code
    triangles = [np.zeros(3)]
    for loop in _loops(_segments(code)):
        fans = [_fan(loop[start:] + loop[:start]) for start in range(len(loop))]
        # The area of a bent polygon depends on how it is cut; the authors' table has the largest.
        triangles += max(fans, key=lambda fan: sum(float(np.linalg.norm(n)) for n in fan))
    return np.array(triangles)


def _segments(code: int) -> list[tuple[Point, Point]]:
    """Line segments in which the surface cuts the cell's six faces, between midpoints of edges."""
    inside = {corner for bit, corner in enumerate(_CORNERS) if code >> bit & 1}
    segments = []
    for axis, side in product(range(3), (0, 1)):
        face = [c for c in _CORNERS if c[axis] == side]
        ring = [face[0], face[1], face[3], face[2]]
        cuts = [
            (tuple((p + q) / 2 for p, q in zip(one, ring[(i + 1) % 4], strict=True)), i)
            for i, one in enumerate(ring)
            if (one in inside) != (ring[(i + 1) % 4] in inside)
        ]
        if len(cuts) == 4 and ring[0] in inside:
            cuts = [cuts[3], *cuts[:3]]
        segments += [(cuts[i][0], cuts[i + 1][0]) for i in range(0, len(cuts), 2)]
    return segments


def _loops(segments: list[tuple[Point, Point]]) -> list[list[Point]]:
    """The closed polygons that segments form; each point is the end of two of them."""
    left = list(segments)
    loops = []
    while left:
        loop = list(left.pop())
        while loop[0] != loop[-1]:
            following = next(s for s in left if loop[-1] in s)
            left.remove(following)
            loop.append(following[1] if following[0] == loop[-1] else following[0])
        loops.append(loop[:-1])
    return loops


def _fan(loop: list[Point]) -> list[NDArray[np.float64]]:
    points = np.array(loop)
    return [
        np.cross(points[i] - points[0], points[i + 1] - points[0]) / 2
        for i in range(1, len(points) - 1)
    ]
