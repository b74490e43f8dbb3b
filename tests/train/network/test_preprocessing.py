import numpy as np
import pytest
import torch
from torch.nn import functional

from lits_train.network.preprocessing import (
    Preprocessing,
    label_shares,
    resize,
    resize_labels,
    resize_weights,
)
from lits_train.settings.recipe import BASELINE, DEFAULT
from lits_train.training.network_inputs import (
    share_targets,
)
from support.files.scans import random_hu


def test_minmax_takes_each_slice_s_own_range() -> None:
    slab_hu = torch.tensor(random_hu((3, 64, 64)), dtype=torch.float32) * torch.tensor(
        [1.0, 2.0, 5.0]
    ).view(3, 1, 1)
    scaled = Preprocessing(BASELINE.override(size=64))(slab_hu)
    assert scaled.shape == (3, 3, 64, 64)
    for number in range(3):
        values = slab_hu[number]
        expected = (values - values.min()) / (values.max() - values.min())
        for channel in range(3):
            torch.testing.assert_close(scaled[number, channel], expected)


def test_window_clips_and_context_slices_become_channels() -> None:
    slab_hu = torch.tensor([-1000.0, 0.0, 80.0, 160.0, 3000.0]).view(5, 1, 1).expand(5, 32, 32)
    scaled = Preprocessing(DEFAULT.override(size=32))(slab_hu)
    assert scaled.shape == (3, 3, 32, 32)
    expected = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.5, 1.0], [0.5, 1.0, 1.0]])
    torch.testing.assert_close(scaled[:, :, 0, 0], expected)


def test_resize_keeps_means_and_masks_take_the_nearest() -> None:
    slab_hu = torch.zeros(1, 512, 512)
    slab_hu[:, ::2] = 1000.0  # stripes of one voxel: without antialiasing all or nothing is left
    scaled = Preprocessing(BASELINE)(slab_hu)
    assert scaled[0, 0, 8:-8, 8:-8].sub(0.5).abs().max() < 0.05
    labels = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 0, 0]]).byte()
    assert resize_labels(labels[None], (2, 2))[0].tolist() == [[0, 1], [2, 0]]
    assert resize_labels(labels[None], (2, 2))[0].dtype == torch.uint8


@pytest.mark.parametrize(
    "shape",
    [(512, 512), (97, 131), (512, 511), (1024, 700), (64, 50), (33, 1), (1, 1), (2, 300), (7, 5)],
)
@pytest.mark.parametrize("size", [(192, 192), (32, 64)])
def test_resize_is_torch_s_with_antialiasing(shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Both ways, odd sizes, single pixels; the graph's matrix products instead of torch's loops."""
    slab_hu = torch.from_numpy(random_hu((2, *shape)).astype(np.float32))
    expected = functional.interpolate(
        slab_hu[:, None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[:, 0]
    torch.testing.assert_close(resize(slab_hu, size), expected, rtol=0, atol=2e-3)


def test_resize_stays_float32_under_autocast() -> None:
    slab_hu = torch.from_numpy(random_hu((1, 64, 64)).astype(np.float32))
    with torch.autocast("cpu", torch.bfloat16):
        lowered = resize(slab_hu, (32, 32))
    torch.testing.assert_close(lowered, resize(slab_hu, (32, 32)), rtol=0, atol=0)


def test_resize_weights_worked_out_by_hand() -> None:
    """From 3 pixels to 2: new centres at 0.75 and 2.25, weights fall to zero at 1.5."""
    expected = np.array([[5 / 6, 0.5, 0], [0, 0.5, 5 / 6]]) / (5 / 6 + 0.5)
    np.testing.assert_allclose(resize_weights(3, 2).numpy(), expected, atol=1e-6)
    grown = resize_weights(1, 4)  # a single pixel is everywhere
    assert grown.tolist() == [[1.0]] * 4


def test_shares_are_means_over_a_pixel_s_area() -> None:
    labels = torch.zeros(1, 128, 128, dtype=torch.uint8)
    labels[0, 32:96, 30:97] = 1
    labels[0, 50:61, 50:61] = 2
    shares = label_shares(labels, (32, 32))
    assert shares.shape == (1, 2, 32, 32) and shares.dtype == torch.uint8
    for channel, mask in enumerate((labels >= 1, labels == 2)):
        assert shares[0, channel].sum() / 255 * 16 == pytest.approx(int(mask.sum()), rel=0.01)
    lesion = share_targets(shares, ("lesion",))
    assert lesion.shape == (1, 1, 32, 32)
    assert float(lesion.max()) == 1.0
    assert len(lesion.unique()) > 3, "parts of pixels at the edge"


def test_numbers_from_numpy_and_torch_agree_on_the_window() -> None:
    slab_hu = random_hu((3, 32, 32)).astype(np.float32)
    scaled = Preprocessing(DEFAULT.override(size=32, context_slices=0))(torch.from_numpy(slab_hu))
    expected = np.clip(slab_hu, 0, 160) / 160
    np.testing.assert_allclose(scaled[:, 0].numpy(), expected, atol=1e-6)
