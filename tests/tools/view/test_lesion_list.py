"""Lesions listed and ringed."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from lits_tools.view.display import MARKED_COLOUR
from lits_tools.view.panels import VIEWS, Panel, draw_ct
from lits_tools.view.planes import PLANES
from lits_tools.view.view_data import ViewData
from support.files.views import drawn_by_hand


def test_lesions_are_listed() -> None:
    """A lesion of 3 x 3 x 3 voxels that is found, one voxel missed, one voxel too many."""
    view = drawn_by_hand()
    found, *others = view.lesions
    assert (found.kind, found.centre, found.box) == ("found", (3, 6, 7), ((3, 5), (5, 7), (6, 8)))
    assert found.volume_ml == pytest.approx(26 * 0.008)
    assert found.diameter_mm == pytest.approx(np.hypot(3 * 1, 3 * 2))
    listed = [(one.kind, one.centre, one.box[0]) for one in others]
    assert listed == [("false positive", (4, 8, 9), (4, 4)), ("missed", (8, 5, 6), (8, 8))]
    alone = ViewData(view.name, view.volume_hu, view.labels, None, view.spacing_mm, view.voxel_ml)
    assert [one.kind for one in alone.lesions] == ["lesion", "lesion"]


def test_a_lesion_s_centre_lies_inside_it() -> None:
    labels = np.zeros((3, 30, 30), np.uint8)
    labels[1, 5:25, 5:25] = 2
    labels[1, 8:25, 8:25] = 1
    (lesion,) = ViewData("L", labels.astype(np.int16), labels, None, (1, 1, 1), 0.001).lesions
    assert labels[lesion.centre] == 2
    assert not lesion.small


@pytest.mark.parametrize("plane", PLANES)
def test_small_lesions_are_ringed_in_every_plane(plane: str) -> None:
    view, cut = drawn_by_hand(), PLANES[plane]
    figure = Figure()
    axes = figure.subplots()
    panel = Panel(view, cut, (8, 5, 6)[cut.axis])
    VIEWS["contours"][0][1](axes, panel)
    rings = [patch for patch in axes.patches if isinstance(patch, Ellipse)]
    missed = next(lesion for lesion in view.lesions if lesion.kind == "missed")
    shown = np.zeros(view.labels.shape, bool)
    shown[missed.centre] = True
    ((row, column),) = np.argwhere(cut.cut(shown, panel.number)).tolist()
    assert (column, row) in [tuple(ring.center) for ring in rings]
    assert {ring.get_edgecolor()[:3] for ring in rings} == {to_rgb(MARKED_COLOUR)}
    axes.clear()
    draw_ct(axes, panel)
    assert not axes.patches
