import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from lits_runtime.errors import DatasetError
from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_tools.cli.view import main
from lits_tools.view.chosen_slices import largest_lesion, through_liver, worst_disagreement
from lits_tools.view.display import (
    PREDICTED_COLOUR,
    REFERENCE_COLOUR,
    REFERENCE_LIVER_COLOUR,
    VIEW_NAMES,
)
from lits_tools.view.page import CODE_STEP, DISPLAY_HU, viewer_page
from lits_tools.view.panels import VIEWS, Panel, draw_ct, draw_difference
from lits_tools.view.planes import PLANES
from lits_tools.view.sheets import chosen_slices, sheet
from lits_tools.view.view_data import ViewData, open_view
from support.files.views import drawn_by_hand

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("view")
    phantom = make_phantom(2, matrix=64, slices=16, lesions=3, orientation="RAS")
    write_phantom(root, 2, phantom)
    return root


def run(folder: Path, *arguments: object) -> Result:
    mask = folder / "segmentation-2.nii.gz"
    scan = folder / "volume-2.nii.gz"
    return CliRunner().invoke(main, [str(a) for a in (scan, "--mask", mask, *arguments)])


def pixels(figure: Figure) -> np.ndarray:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor="black")
    return np.asarray(Image.open(stream).convert("RGB")) / 255


def has_colour(figure: Figure, colour: str) -> bool:
    return bool((np.abs(pixels(figure) - to_rgb(colour)).max(axis=2) < 0.02).any())


def test_slices_are_chosen_well() -> None:
    view, axial = drawn_by_hand(), PLANES["axial"]
    assert largest_lesion(view, axial) == 3, "the first of three equal slices"
    assert worst_disagreement(view, axial) == 4, "one voxel too many and one too few"
    assert chosen_slices(view, axial, "auto") == [3, 4]
    assert chosen_slices(view, axial, "7") == [6]
    assert set(through_liver(view, axial, 20)) == set(range(2, 10))
    assert largest_lesion(view, PLANES["sagittal"]) == 6


@pytest.mark.parametrize("wrong", ["0", "13", "1.5", "some"])
def test_slice_out_of_range(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"expected 1 to 12 \(inferior is 1\)"):
        chosen_slices(drawn_by_hand(), PLANES["axial"], wrong)


@pytest.mark.parametrize(
    ("plane", "top_left", "letters", "aspect"),
    [
        ("axial", "anterior right", "RLAP", 1 / 2),
        ("coronal", "superior right", "RLSI", 4 / 2),
        ("sagittal", "superior anterior", "APSI", 4 / 1),
    ],
)
def test_layout(plane: str, top_left: str, letters: str, aspect: float) -> None:
    """A bright voxel near one corner of the body appears in that corner of the picture."""
    place = {"inferior": 0, "superior": 11, "anterior": 0, "right": 0}
    words = top_left.split()
    index = [5, 5, 5]
    for word, axis in (("superior", 0), ("anterior", 1), ("right", 2)):
        if word in words:
            index[axis] = place[word]
    view, cut = drawn_by_hand(), PLANES[plane]
    view.volume_hu[:] = -1000
    view.volume_hu[tuple(index)] = 200
    figure = Figure()
    axes = figure.subplots()
    draw_ct(axes, Panel(view, cut, index[cut.axis]))
    shown = np.asarray(axes.images[0].get_array())
    assert np.argwhere(shown == shown.max()).tolist() == [[0, 0]]
    assert cut.letters == letters
    assert axes.get_aspect() == aspect


def test_orientation_comes_from_the_affine() -> None:
    """The same anatomy stored in three ways gives the same arrays."""
    views = []
    for orientation in ("LPS", "LAS", "RAS"):
        phantom = make_phantom(2, matrix=48, slices=8, lesions=1, orientation=orientation)
        scan, mask = (phantom.volume_hu, phantom.affine), (phantom.labels, phantom.affine)
        views.append(open_view(scan, mask))
    for view in views[1:]:
        np.testing.assert_array_equal(view.volume_hu, views[0].volume_hu)
        np.testing.assert_array_equal(view.labels, views[0].labels)
    liver = np.argwhere(views[0].labels > 0)
    assert liver[:, 2].mean() < 24, "the liver lies on the patient's right, shown on the left"


def test_false_positives_and_negatives_have_their_colours() -> None:
    view = drawn_by_hand()
    panel_colours = {"fp": PREDICTED_COLOUR, "fn": REFERENCE_COLOUR}
    figure = Figure()
    axes = figure.subplots()
    draw_difference(axes, Panel(view, PLANES["axial"], 4))
    masks: dict[Any, Any] = {
        image.cmap(0.5): np.ma.asarray(image.get_array()) for image in axes.images[1:]
    }
    shown = {
        name: np.argwhere(~np.ma.getmaskarray(masks[(*to_rgb(colour), 1.0)])).tolist()
        for name, colour in panel_colours.items()
    }
    assert shown == {"fp": [[8, 9]], "fn": [[5, 6]]}


def test_names_of_views_are_those_of_the_command() -> None:
    assert tuple(VIEWS) == VIEW_NAMES


@pytest.mark.parametrize("name", VIEWS)
def test_each_view_alone(name: str) -> None:
    view = drawn_by_hand()
    figure = sheet(view, views=[name])
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2 * len(VIEWS[name]), "largest lesion and worst disagreement"
    assert "liver 2.3 ml (reference 2.3 ml, Dice 1.000)" in figure.get_suptitle()
    texts = {text.get_text() for text in panels[0].texts}
    assert {"R", "L", "A", "P"} < texts
    assert any(re.fullmatch(r"\d+ mm", text) for text in texts)


def test_scale_bar_has_its_length() -> None:
    figure = sheet(drawn_by_hand(), views=["ct"], slices=5)
    axes = figure.axes[0]
    (bar,) = axes.lines
    text = next(t.get_text() for t in axes.texts if t.get_text().endswith(" mm"))
    length = float(np.ptp(np.asarray(bar.get_xdata(), float))) * 2.0
    assert length == pytest.approx(float(text.removesuffix(" mm")))


def test_without_reference_its_views_are_left_out() -> None:
    view = drawn_by_hand()
    alone = ViewData(view.name, view.volume_hu, view.labels, None, view.spacing_mm, view.voxel_ml)
    titles = " ".join(axes.get_title() for axes in sheet(alone).axes)
    assert "difference" not in titles
    assert "reference" not in titles
    with pytest.raises(ValueError, match="'difference' needs a reference"):
        sheet(alone, views=["difference"])
    alone_colours = [
        has_colour(sheet(one, views=["contours"]), REFERENCE_LIVER_COLOUR) for one in (view, alone)
    ]
    assert alone_colours == [True, False]


def test_empty_masks_are_drawn() -> None:
    hu = np.zeros((4, 8, 8), np.int16)
    empty = np.zeros(hu.shape, np.uint8)
    view = ViewData("empty", hu, empty, empty, (1.0, 1.0, 1.0), 0.001)
    assert len(sheet(view).axes) == 8
    page = viewer_page(view)
    assert '"start": [2, 4, 4]' in page
    assert '"lesions": []' in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "start"),
    [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml"), (".gif", b"GIF89a")],
)
def test_command_writes(folder: Path, tmp_path: Path, ending: str, start: bytes) -> None:
    figure = tmp_path / f"figure{ending}"
    found = run(folder, "-o", figure, "--dpi", 40)
    assert found.exit_code == 0, found.output
    assert figure.read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [figure.name]


@pytest.mark.slow
def test_animation_runs_through_the_liver_and_back(folder: Path, tmp_path: Path) -> None:
    assert run(folder, "-o", tmp_path / "a.gif", "--dpi", 30).exit_code == 0
    view = open_view(folder / "volume-2.nii.gz", folder / "segmentation-2.nii.gz")
    slices = int((view.labels > 0).any(axis=(1, 2)).sum())
    with Image.open(tmp_path / "a.gif") as image:
        assert getattr(image, "n_frames", 1) == 2 * slices - 2


def test_page_holds_the_scan_and_the_masks(folder: Path) -> None:
    mask = folder / "segmentation-2.nii.gz"
    view = open_view(folder / "volume-2.nii.gz", mask, mask)
    page = viewer_page(view)
    assert not re.search(r'(src|href)="', page)
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found
    data = json.loads(found[1])
    for shown in data["slices"]:
        number = shown["number"] - 1
        ct, codes = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(shown[key].partition(",")[2]))))
            for key in ("ct", "labels")
        )
        np.testing.assert_array_equal(codes / CODE_STEP, view.labels[number] * 4.0)
        low, high = DISPLAY_HU
        hu = ct / 255 * (high - low) + low
        wanted = np.clip(view.volume_hu[number], low, high)
        assert np.abs(hu - wanted).mean() < 8, "a compressed copy, but of this slice"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_page_draws_in_a_browser(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "viewer.html"
    mask = folder / "segmentation-2.nii.gz"
    assert run(folder, "--reference", mask, "-o", page).exit_code == 0
    view = open_view(folder / "volume-2.nii.gz", mask)
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--virtual-time-budget=5000", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    number = largest_lesion(view, PLANES["axial"]) + 1
    assert 'data-ready="true"' in shown
    assert f"axial {number} of 16" in shown
    assert len(re.findall(r"(axial|coronal|sagittal) \d+ of \d+<", shown)) == 3
    assert shown.count(", found</small>") == len(view.lesions) >= 3


def test_grids_must_agree(folder: Path) -> None:
    other = make_phantom(2, matrix=48, slices=16)
    with pytest.raises(DatasetError, match="mask and scan differ in shape"):
        open_view(folder / "volume-2.nii.gz", (other.labels, other.affine))
    wrong = make_phantom(2, matrix=64, slices=16, lesions=3, orientation="RAS").labels
    with pytest.raises(DatasetError, match="--ignore-affine"):
        open_view(folder / "volume-2.nii.gz", (wrong, np.eye(4)))
    view = open_view(folder / "volume-2.nii.gz", (wrong, np.eye(4)), ignore_affine=True)
    known = open_view(folder / "volume-2.nii.gz", folder / "segmentation-2.nii.gz")
    np.testing.assert_array_equal(view.labels, known.labels)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "figure.bmp"),
        ("-o", "figure.png", "--view", "difference"),
        ("-o", "figure.png", "--slice", "99"),
        ("-o", "figure.png", "--window", "100", "0"),
        ("-o", "figure.html", "--view", "ct"),
        ("-o", "figure.html", "--plane", "coronal"),
        ("-o", "figure.gif", "--slice", "3"),
    ],
)
def test_usage_errors(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(folder, *arguments).exit_code == 2
    assert not list(tmp_path.iterdir())
