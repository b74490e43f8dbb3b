from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from lits_runtime.labels import LESION
from lits_runtime.phantom.ct import make_phantom
from lits_runtime.volumes.scan import Scan
from lits_train.network.preprocessing import resized_slab
from lits_train.samples.augment import augment
from lits_train.samples.dataset import Sample
from lits_train.samples.lesion_windows import Slabs
from lits_train.samples.local_mean import local_mean
from lits_train.samples.random_numbers import RandomNumbers
from lits_train.samples.synthetic_lesions import add_lesions
from lits_train.samples.warp import AIR_HU
from lits_train.settings.recipe import DEFAULT, LESION_UNKNOWN, Recipe

STILL = DEFAULT.override(
    rotation_degrees=0.0,
    zoom=0.0,
    shift=0.0,
    elastic=0.0,
    intensity_augmentation=0.0,
    fatty_livers=0.0,
    synthetic_lesions=0.0,
    neighbour_reach=1,
    made_up_neighbours=0.0,
    crop=0,
    whole_slices=0.0,
    tta=(),
)
SPACING_MM = (2.0, 2.5, 2.5)


def middle_of(path: Path, mask: Path) -> tuple[Tensor, Tensor]:
    scans = [Scan.open(file).load() for file in (path, mask)]
    start = scans[0].geometry.canonical_shape[0] // 2
    slab_hu, labels = (scan.read_slab(start, start + 1, 1) for scan in scans)
    hu, _, small = resized_slab(slab_hu, labels, 160)
    return hu, small


def whole_shares(labels: Tensor) -> Tensor:
    """Shares of pixels that are what their label says, all of them."""
    return torch.stack([labels >= 1, labels == 2]).to(torch.uint8) * 255


def painted(hu: Tensor, labels: Tensor, seed: int) -> tuple[int, Slabs]:
    """A copy of a sample with lesions, without the axis of the batch."""
    slabs = Slabs(hu[None].clone(), labels[None].clone(), whole_shares(labels[1])[None])
    rng = RandomNumbers([seed], torch.device("cpu"))
    [count] = add_lesions(slabs, torch.tensor([SPACING_MM]), rng)
    return count, Slabs(slabs.hu[0], slabs.labels[0], slabs.shares[0])


@pytest.fixture(scope="module")
def batch(real_case: tuple[Path, Path]) -> Sample:
    """Six slices of a real case, or of the phantom where none is at hand."""
    hu, labels = middle_of(*real_case)
    return Sample(
        hu=hu.repeat(6, 1, 1, 1),
        range_hu=torch.zeros(6, 3, 2),
        labels=labels.clamp(max=1).repeat(6, 1, 1, 1),
        shares=whole_shares(labels[1].clamp(max=1)).repeat(6, 1, 1, 1),
        spacing_mm=torch.tensor(SPACING_MM).repeat(6, 1),
        adjacent=torch.ones(6, dtype=torch.bool),
        liver_only=torch.zeros(6, dtype=torch.bool),
        case=torch.zeros(6, dtype=torch.int64),
        slice=torch.arange(6),
    )


def test_without_strength_nothing_changes(batch: Sample) -> None:
    augmented = augment(batch, STILL, range(6))
    assert torch.equal(augmented["hu"], batch["hu"])
    assert torch.equal(augmented["labels"], batch["labels"])


def test_a_seed_decides_whatever_the_batch_and_the_original_stays(batch: Sample) -> None:
    recipe = STILL.override(
        rotation_degrees=20.0,
        zoom=0.25,
        shift=0.1,
        elastic=0.01,
        intensity_augmentation=0.5,
        synthetic_lesions=0.8,
        tta=("flip_slices",),
    )
    before = {key: value.clone() for key, value in dict[str, Any](batch).items()}
    together = augment(batch, recipe, range(6))
    again = augment(batch, recipe, range(6))
    for key in ("hu", "labels"):
        assert torch.equal(together[key], again[key])
        assert torch.equal(batch[key], before[key])
    half: Any = {key: value[3:] for key, value in dict[str, Any](batch).items()}
    alone = augment(half, recipe, range(3, 6))
    torch.testing.assert_close(alone["hu"], together["hu"][3:], atol=0.05, rtol=0)
    assert torch.equal(alone["labels"], together["labels"][3:])
    assert not torch.equal(together["hu"][0], together["hu"][1])


def test_lesions_of_others_in_the_batch_change_nothing(batch: Sample) -> None:
    """Lesions are painted together, in windows that the largest of them needs."""
    recipe = STILL.override(synthetic_lesions=1.0)
    for first in range(0, 60, 6):
        together = augment(batch, recipe, range(first, first + 6))
        for number in range(6):
            one: Any = {key: value[:1] for key, value in dict[str, Any](batch).items()}
            alone = augment(one, recipe, [first + number])
            torch.testing.assert_close(
                alone["hu"][0], together["hu"][number], atol=0.05, rtol=0, msg=f"{first + number}"
            )
            changed = alone["shares"][0].int() - together["shares"][number].int()
            assert changed.abs().max() <= 1  # of 255, by rounding


@pytest.mark.parametrize(
    "strength", [{"rotation_degrees": 25.0}, {"zoom": 0.3}, {"shift": 0.15}, {"elastic": 0.01}]
)
def test_labels_move_with_the_picture(strength: dict[str, float]) -> None:
    """A bright disc whose mask is known: after the warp the mask still covers what is bright."""
    rows, columns = np.ogrid[:96, :96]
    disc = torch.tensor((rows - 40) ** 2 + (columns - 55) ** 2 < 18**2)
    hu = torch.where(disc, 100.0, 0.0).repeat(4, 3, 1, 1)
    batch = Sample(
        hu=hu,
        range_hu=torch.zeros(4, 3, 2),
        labels=disc.to(torch.uint8).repeat(4, 3, 1, 1),
        shares=whole_shares(disc.to(torch.uint8)).repeat(4, 1, 1, 1),
        spacing_mm=torch.ones(4, 3),
        adjacent=torch.ones(4, dtype=torch.bool),
        liver_only=torch.zeros(4, dtype=torch.bool),
        case=torch.zeros(4),
        slice=torch.zeros(4),
    )
    moved = augment(batch, STILL.override(**strength), range(4))
    bright, mask = moved["hu"] > 50, moved["labels"] == 1
    dice = 2 * (bright & mask).sum() / (bright.sum() + mask.sum())
    assert dice > 0.97
    half = moved["shares"][:, 0] >= 128
    assert 2 * (half & mask[:, 1]).sum() / (half.sum() + mask[:, 1].sum()) > 0.97
    assert not moved["shares"][:, 1].any()
    assert (mask != disc).any(dim=(1, 2, 3)).sum() >= 3  # a draw may be next to nothing
    assert moved["hu"].min() >= AIR_HU


def test_crops_are_cut_out_around_lesions_and_livers(batch: Sample) -> None:
    labels = torch.zeros(60, 3, 160, 160, dtype=torch.uint8)
    labels[:20, :, 70:150, 10:90] = 1  # at the edge of the slice
    labels[:10, :, 130:134, 20:24] = 2
    case = Sample(
        hu=labels.float() * 50,
        range_hu=torch.zeros(60, 3, 2),
        labels=labels,
        shares=torch.stack([whole_shares(one[1]) for one in labels]),
        spacing_mm=torch.ones(60, 3),
        adjacent=torch.ones(60, dtype=torch.bool),
        liver_only=torch.zeros(60, dtype=torch.bool),
        case=torch.zeros(60),
        slice=torch.zeros(60),
    )
    cut = augment(case, STILL.override(crop=64), range(60))
    assert cut["hu"].shape == cut["labels"].shape == (60, 3, 64, 64)
    assert cut["shares"].shape == (60, 2, 64, 64)
    seen = (cut["labels"] == 2).any(1).flatten(1).sum(1)[:10]
    assert 5 <= (seen == 16).sum() <= 10, "the whole of it"
    assert (cut["labels"] >= 1).flatten(1).any(1)[:20].all()
    inside = cut["hu"] > AIR_HU / 2
    together = (cut["hu"] - 50.0 * cut["labels"])[inside].abs() <= 50
    assert together.float().mean() > 0.99, "labels lie where the picture does"
    assert inside.float().mean((1, 2, 3)).min() > 0.7
    assert inside[20:].float().mean() > 0.95


def test_neighbours_that_nobody_has_are_made_up(batch: Sample) -> None:
    single: Any = {**batch, "hu": batch["hu"][:, [1, 1, 1]]}
    single["adjacent"] = torch.tensor([True, True, True, False, False, False])
    strong = STILL.override(made_up_neighbours=1.0, rotation_degrees=10.0)
    before, own, after = augment(single, strong, range(6))["hu"].unbind(1)
    plain = augment(single, STILL.override(rotation_degrees=10.0), range(6))["hu"]
    torch.testing.assert_close(own, plain[:, 1])
    torch.testing.assert_close(before[:3], plain[:3, 0])
    for near in (before, after):
        soft = (own[3:] > -100) & (near[3:] > -100)
        difference = (near - own)[3:][soft].abs().mean()
        assert 1 < difference < 40
    assert not torch.equal(before[3:], after[3:])


def test_intensities_change_and_labels_do_not(batch: Sample) -> None:
    moved = augment(batch, STILL.override(intensity_augmentation=1.0), range(6))
    assert torch.equal(moved["labels"], batch["labels"])
    assert torch.isfinite(moved["hu"]).all()
    change = (moved["hu"] - batch["hu"])[batch["labels"] == 1]
    assert 3 < change.abs().mean() < 80
    liver, elsewhere = (moved["hu"][batch["labels"] == k].median() for k in (1, 0))
    assert liver > elsewhere + 30  # still a CT


def test_neighbours_lie_at_many_distances_and_say_so() -> None:
    """Slices whose HU is their number: the result shows how far the neighbours were."""
    n, reach = 400, 3
    heights = torch.arange(-reach, reach + 1.0)
    batch = Sample(
        hu=heights.view(1, -1, 1, 1).expand(n, -1, 8, 8),
        range_hu=torch.stack([heights, heights], 1).expand(n, -1, -1),
        labels=torch.arange(7).to(torch.uint8).view(1, -1, 1, 1).expand(n, -1, 8, 8),
        shares=torch.zeros(n, 2, 8, 8, dtype=torch.uint8),
        spacing_mm=torch.tensor([1.5, 1.0, 1.0]).repeat(n, 1),
        adjacent=torch.ones(n, dtype=torch.bool),
        liver_only=torch.zeros(n, dtype=torch.bool),
        case=torch.zeros(n),
        slice=torch.zeros(n),
    )
    moved = augment(batch, STILL.override(neighbour_reach=reach), range(n))
    before, own, after = moved["hu"][:, :, 0, 0].unbind(1)
    assert not own.any()
    torch.testing.assert_close(before, -after)
    torch.testing.assert_close(moved["spacing_mm"][:, 0], 1.5 * after)
    assert 0.3 <= after.min() < 0.6 and after.max() == 3
    assert 0.5 <= (after == 1).float().mean() < 0.75
    assert set(after[after >= 1].tolist()) == {1.0, 2.0, 3.0}
    whole = moved["hu"][after == 2][:, :, 0, 0].long() + 3
    assert torch.equal(moved["labels"][after == 2][:, :, 0, 0].long(), whole)
    assert torch.equal(moved["range_hu"][0, :, 0], heights[2:5])


def test_turning_the_slices_round_is_what_tta_undoes(batch: Sample) -> None:
    moved = augment(batch, STILL.override(tta=("flip_slices",)), range(6))
    turned = [torch.equal(moved["hu"][i], batch["hu"][i].flip(0)) for i in range(6)]
    kept = [torch.equal(moved["hu"][i], batch["hu"][i]) for i in range(6)]
    assert any(turned)
    assert any(kept)
    assert all(one != other for one, other in zip(turned, kept, strict=True))


def test_fat_darkens_a_liver_and_neither_its_vessels_nor_what_is_around_it(batch: Sample) -> None:
    fat = augment(batch, STILL.override(fatty_livers=1.0), range(6))
    hu, before, labels = fat["hu"], batch["hu"], batch["labels"]
    assert torch.equal(fat["labels"], labels)
    far = functional.max_pool2d((labels > 0).float(), 5, stride=1, padding=2) == 0
    assert torch.equal(hu[far], before[far])
    inner = -functional.max_pool2d(-(labels == 1).float(), 3, stride=1, padding=1) > 0
    drops, of_lesions = [], []
    for old, new, liver, mask in zip(before, hu, inner, labels, strict=True):
        change, level = old - new, functional.avg_pool2d(old, 3, stride=1, padding=1)
        median = old[liver].median()
        drops.append(float(change[liver & ((level - median).abs() < 5)].median()))
        assert (change[liver & (level > median + 45)] <= 0.1 * drops[-1]).all(), "vessels"
        deep = -functional.max_pool2d(-(mask == LESION).float(), 3, stride=1, padding=1) > 0
        if deep.any():
            of_lesions.append(float(change[deep].median()) / drops[-1])
    assert min(drops) > 4 and max(drops) < 91 and max(drops) - min(drops) > 20
    assert all(0.6 < one < 1.3 for one in of_lesions)


def test_a_liver_that_the_border_cuts_has_no_surface_there() -> None:
    liver = torch.ones(1, 1, 32, 32)
    assert torch.equal(local_mean(liver, 9), liver)
    liver[..., 16:] = 0
    means = local_mean(liver, 3)[0, 0]
    assert torch.equal(means[0], means[9]) and means[9, 15] == pytest.approx(2 / 3)


def test_synthetic_lesions_lie_in_the_liver_and_differ_from_it(batch: Sample) -> None:
    shares, contrasts = [], []
    for seed in range(40):
        count, slab = painted(batch["hu"][0], batch["labels"][0], seed)
        hu, labels = slab.hu, slab.labels
        assert 1 <= count <= 6
        lesion, liver = labels == 2, batch["labels"][0] == 1
        assert not (labels > 2).any()
        edge = (slab.shares[1] > 0) & (slab.shares[1] < 255)
        assert ((slab.shares[1] >= 128) == lesion[1])[~edge].all()
        assert ((slab.shares[1] >= 128) != lesion[1]).sum() <= 0.2 * lesion[1].sum() + 4
        assert (slab.shares[1] <= slab.shares[0]).all()
        shares.append(float(lesion.sum() / liver.sum()))
        if lesion[1].sum() > 20:
            contrasts.append(float(hu[1][lesion[1]].median() - hu[1][labels[1] == 1].median()))
        untouched = (hu == batch["hu"][0]).float().mean()
        assert untouched > 0.3  # far from the liver
    assert len(contrasts) > 20
    assert np.median(contrasts) < -15  # most are darker than the liver
    assert max(contrasts) > 5  # some brighter
    assert 0.002 < np.median(shares) < 0.5


@pytest.fixture(scope="module")
def lesions_of_round_liver() -> list[tuple[Tensor, Tensor]]:
    """Lesions of 120 seeds in a disc of liver in fat, and the distances from its centre."""
    rows, columns = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    radius = ((rows - 80.0) ** 2 + (columns - 80.0) ** 2).sqrt()
    labels = (radius < 55).to(torch.uint8).repeat(3, 1, 1)
    noise = 10 * torch.randn(3, 160, 160, generator=torch.Generator().manual_seed(0))
    hu = torch.where(radius < 55, 100.0, -100.0) + noise
    return [(painted(hu, labels, seed)[1].labels[1] == LESION, radius) for seed in range(120)]


def test_many_synthetic_lesions_lie_at_the_capsule(
    lesions_of_round_liver: list[tuple[Tensor, Tensor]],
) -> None:
    """The fat around a liver must not count for the texture or the level within it."""
    reach = [
        float(radius[lesion].max()) > 54
        for lesion, radius in lesions_of_round_liver
        if lesion.any()
    ]
    assert 0.5 < np.mean(reach) < 0.8


def test_a_few_synthetic_lesions_replace_most_of_the_liver(
    lesions_of_round_liver: list[tuple[Tensor, Tensor]],
) -> None:
    shares = [
        float(lesion.sum() / (radius < 55).sum()) for lesion, radius in lesions_of_round_liver
    ]
    assert max(shares) > 0.5
    assert 0.03 < np.mean(np.array(shares) > 0.3) < 0.3
    assert np.median(shares) < 0.15


def test_no_liver_no_lesion_and_unknown_liver_stays_unknown() -> None:
    hu, labels = torch.zeros(3, 64, 64), torch.zeros(3, 64, 64, dtype=torch.uint8)
    count, slab = painted(hu, labels, 0)
    assert count == 0
    assert not slab.hu.any()
    labels[:, 10:50, 10:50] = LESION_UNKNOWN
    count, slab = painted(hu, labels, 0)
    assert count == 0
    assert not slab.shares[1].any()
    assert set(slab.labels.unique().tolist()) == {0, LESION_UNKNOWN}


def test_phantom_and_one_slice_without_neighbours() -> None:
    phantom = make_phantom(3, matrix=96, slices=12, lesions=0)
    hu = torch.tensor(phantom.volume_hu[:, :, 6].T.copy(), dtype=torch.float32)[None]
    labels = torch.tensor(phantom.labels[:, :, 6].T.copy())[None]
    recipe: Recipe = STILL.override(
        context_slices=0, synthetic_lesions=1.0, intensity_augmentation=1.0
    )
    batch = Sample(
        hu=hu[None],
        range_hu=torch.zeros(1, 1, 2),
        labels=labels[None],
        shares=whole_shares(labels[0])[None],
        spacing_mm=torch.tensor([[5.0, 4.0, 4.0]]),
        adjacent=torch.ones(1, dtype=torch.bool),
        liver_only=torch.zeros(1, dtype=torch.bool),
        case=torch.zeros(1),
        slice=torch.zeros(1),
    )
    found = [bool((augment(batch, recipe, [seed])["labels"] == 2).any()) for seed in range(5)]
    assert any(found)


def test_the_last_part_of_a_run_is_trained_on_whole_slices(batch: Sample) -> None:
    recipe = STILL.override(crop=64, whole_slices=0.25)
    sides = [
        augment(batch, recipe.at(done), range(6))["hu"].shape[-1] for done in (0.0, 0.74, 0.75, 1.0)
    ]
    assert sides == [64, 64, 160, 160]
    assert STILL.override(crop=64).at(0.99).crop == 64  # by default, to the end


def test_augmentation_reads_nothing_back_but_the_livers_at_once(batch: Sample) -> None:
    """A number read from a GPU makes the host wait for all that was queued before it."""
    read: list[str] = []

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
                read.append(str(func))
            return func(*args, **(kwargs or {}))

    recipe = DEFAULT.override(
        intensity_augmentation=1.0, fatty_livers=1.0, synthetic_lesions=1.0, neighbour_reach=1
    )
    with Reads():  # type: ignore[no-untyped-call]
        batch["spacing_mm"][0, 0].item()
        assert len(read) == 1
        augment(batch, recipe, range(6))
    assert len(read) == 1


def test_a_larger_batch_takes_hardly_more_operators(batch: Sample) -> None:
    """On a GPU each is a launch: if every sample had its own, a batch would wait for them."""
    recipe = DEFAULT.override(neighbour_reach=1, crop=64, synthetic_lesions=1.0, fatty_livers=0.5)
    counts = []
    for copies in (1, 4):
        many: Any = {
            name: values.repeat(copies, *[1] * (values.dim() - 1))
            for name, values in dict[str, Any](batch).items()
        }
        calls = 0

        class Calls(TorchDispatchMode):
            def __torch_dispatch__(
                self, func: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                nonlocal calls
                calls += 1
                return func(*args, **(kwargs or {}))

        with Calls():  # type: ignore[no-untyped-call]
            augment(many, recipe, range(6 * copies))
        counts.append(calls)
    assert counts[1] < 2 * counts[0]
