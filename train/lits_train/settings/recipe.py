"""Recipes: every setting of a network, its input and its training, in one dataclass."""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from lits_runtime.errors import CheckpointError
from lits_runtime.labels import LABEL_VALUES
from lits_train.limits import MOST_BATCH_PIXELS, RECIPE_LIMITS, check_fields, shown
from lits_train.settings.decoder_layers import read_layers

LESION_UNKNOWN = 3
"""Label in training arrays only: liver that may or may not be lesion."""

OLD_NAMES = {"seed": "baseline"}
"""What earlier versions called a recipe: still accepted, and read as today's name."""

CHOICES = {
    "classes": tuple(LABEL_VALUES),
    "optimizer": ("adam", "adamw"),
    "schedule": ("constant", "cosine", "late", "poly"),
    "tta": ("flip_slices",),
    "input_norm": ("imagenet", "none"),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a training; a checkpoint carries it, so that it can be rebuilt."""

    name: str
    classes: tuple[str, ...]
    """Classes of the network's logits, in order; keys of `LABEL_VALUES`."""
    thresholds: tuple[float, ...]
    """Probability at and above which a voxel belongs to the class."""
    size: int
    """Working size: slices are resized to size x size."""
    context_slices: int
    """Neighbouring slices on either side that the network sees: 0, or 1 for three channels."""
    window_hu: tuple[float, float] | None
    """HU mapped to 0 and 1, clipped outside. None: minimum and maximum of each slice."""
    decoder_channels: tuple[int, ...]
    """Width of each upsampling stage. Five stages reach the working size, four half of it."""
    skip_connections: bool
    """Concatenate encoder stages to decoder stages of the same size, as a U-Net does."""
    decoder_norm: bool
    """Use batch normalisation after the decoder's convolutions."""
    dice_weight: float
    """Weight of a soft Dice term beside the binary cross-entropy."""
    optimizer: str
    """"adam" or "adamw"."""
    learning_rate: float
    weight_decay: float
    schedule: str
    """"constant", or falling to zero over the run: "cosine", half a cosine; "late", the same over
    the last fifth only, so that a run stopped before then can be extended; "poly",
    (1 - step / steps) ** 0.9 as in nnU-Net."""
    batch_size: int
    """Slices in one step, over all processes."""
    epochs: int
    # Added later: a checkpoint that lacks these was trained with the defaults.
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly."""
    ema_decay: float = 0.0
    """Validate and keep the exponential moving average of the weights. 0: keep the weights."""
    clip_norm: float = 0.0
    """Maximum norm of the gradients. 0: not clipped."""
    focal_gamma: float = 0.0
    """Exponent of the focal factor of the cross-entropy (Lin et al., ICCV 2017). 0: plain."""
    epoch_slices: int = 0
    """Slices sampled in one epoch. 0: as many as there are."""
    lesion_share: float = 0.0
    """Fraction of the sampled slices that show a lesion, if any do."""
    liver_share: float = 0.0
    """Fraction of the sampled slices that show liver but no lesion. Both 0: every slice once."""
    case_balance: float = 0.0
    """A case with n lesion (or liver) slices is sampled in proportion to n ** (1 - case_balance).
    0: every slice has the same weight; 1: every case has, as in a mean over cases."""
    rotation_degrees: float = 0.0
    """Maximum in-plane rotation in either direction."""
    zoom: float = 0.0
    """Maximum relative change of size and, independently, of aspect: 0.25 is 1 / 1.25 to 1.25."""
    shift: float = 0.0
    """Maximum shift, as a fraction of the slice."""
    elastic: float = 0.0
    """Standard deviation of a smooth displacement field, as a fraction of the slice."""
    intensity_augmentation: float = 0.0
    """Probability of each of slice thickness, contrast phase, calibration, blur and noise, drawn
    independently for every slice."""
    fatty_livers: float = 0.0
    """Probability that a liver is given fat, which makes it as dark as lesions are elsewhere."""
    synthetic_lesions: float = 0.0
    """Probability that a liver slice is given synthetic lesions."""
    neighbour_reach: int = 1
    """Training varies the distance of the context slices, from less than one slice up to this many.
    A network that had only seen 2 mm would generalise neither to 0.7 mm nor to 5 mm."""
    made_up_neighbours: float = 0.0
    """Probability that a slice without neighbours is given slightly deformed copies of itself as
    context; otherwise exact copies."""
    crop: int = 0
    """Side of the crops to train on, around a lesion or the liver if there is one. 0, or no less
    than the working size: whole slices. The network is validated and used on whole slices."""
    whole_slices: float = 0.0
    """Last fraction of a run with crops that is trained on whole slices, so that batch
    normalisation knows the statistics of what the network will see."""
    soft_labels: bool = False
    """Targets are the fractions of a pixel that are liver and lesion, not the nearest label."""
    subpixel_head: bool = False
    """The head makes four logits of each pixel: one stage's resolution at almost none of its cost.

    The grid of the logits bounds the lesion score. Area means of the true masks of 25 LiTS volumes,
    resized back as logits, reach a mean lesion Dice of 0.901 on 96 x 96 (the smallest lesion 0.37),
    0.956 on 128 x 128, 0.976 on 192 x 192 and 0.990 on 256 x 256."""
    decoder_layers: tuple[str, ...] = ()
    """Layers and head of a decoder that is not ours, as "up3 256", "relu", ... "conv1 1", in place
    of the settings of the decoder above; see `settings.decoder_layers`."""
    input_norm: str = "imagenet"
    """"imagenet": the network subtracts ImageNet's mean and divides by its standard deviation;
    "none": it takes values of 0..1 as they are."""
    tta: tuple[str, ...] = ()
    """Flips used in training, over which predictions may be averaged: "flip_slices"."""

    def __post_init__(self) -> None:
        check_fields(self, RECIPE_LIMITS, CHOICES)
        _check_together(self)

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> "Recipe":
        """The recipe of a checkpoint's settings.

        Raises:
            CheckpointError: keys are missing or unknown, or a value is not allowed.
        """
        if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
            raise CheckpointError("the checkpoint's recipe is not a mapping of settings")
        known = {field.name for field in fields(cls)}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if not needed <= set(settings) <= known:
            missing, extra = sorted(needed - set(settings)), sorted(set(settings) - known)
            raise CheckpointError(
                f"the checkpoint's recipe lacks {missing} and has unknown {shown(extra)}: it was "
                "written by another version of lits-toolkit"
            )
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in settings.items()
        }
        try:
            return cls(**with_current_name(values))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's recipe is not usable: {error}") from error

    def at(self, done: float) -> "Recipe":
        """The recipe of a step, once a fraction of the run is done."""
        whole = self.crop >= self.size or done >= 1 - self.whole_slices
        return replace(self, crop=0) if whole else self

    def override(self, **settings: Any) -> "Recipe":
        """The recipe with those of the settings that are not None."""
        return replace(self, **{key: value for key, value in settings.items() if value is not None})


def with_current_name(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the recipe's old name, if they have one, replaced by today's."""
    name = settings.get("name")
    if not isinstance(name, str) or name not in OLD_NAMES:
        return settings
    return {**settings, "name": OLD_NAMES[name]}


def _check_together(recipe: Recipe) -> None:
    """Refuse combinations of values that are valid one by one, and tuples of the wrong length."""
    if recipe.size % 32:
        raise ValueError(f"size {recipe.size}: expected a multiple of 32, the encoder's stride")
    ordered = tuple(name for name in LABEL_VALUES if name in recipe.classes)
    if not recipe.classes or recipe.classes != ordered:
        raise ValueError(
            f"classes {recipe.classes}: expected some of {list(LABEL_VALUES)}, in this order: a "
            "lesion overwrites the liver that it lies in"
        )
    if len(recipe.thresholds) != len(recipe.classes):
        raise ValueError(
            f"thresholds {recipe.thresholds}: expected one for each of {recipe.classes}"
        )
    if recipe.crop % 32:
        raise ValueError(f"crop {recipe.crop}: expected a multiple of 32, the encoder's stride")
    if not 1 <= len(recipe.decoder_channels) <= 5:
        raise ValueError(f"decoder_channels {recipe.decoder_channels}: expected 1 to 5 stages")
    if recipe.subpixel_head and len(recipe.decoder_channels) > 4:
        raise ValueError("subpixel_head: five decoder stages already reach the working size")
    if recipe.window_hu and not recipe.window_hu[1] - recipe.window_hu[0] >= 1:
        raise ValueError(f"window_hu {recipe.window_hu}: expected low, high, at least 1 HU apart")
    if recipe.lesion_share + recipe.liver_share > 1:
        raise ValueError(
            f"lesion_share {recipe.lesion_share} and liver_share {recipe.liver_share}: "
            "expected at most 1 together"
        )
    if recipe.decoder_layers:
        read_layers(recipe.decoder_layers, len(recipe.classes))
    if recipe.batch_size * recipe.size**2 > MOST_BATCH_PIXELS:
        raise ValueError(
            f"batch_size {recipe.batch_size} at size {recipe.size}: more pixels than any memory "
            f"holds; expected batch_size * size * size up to {MOST_BATCH_PIXELS}"
        )


BASELINE = Recipe(
    name="baseline",
    classes=("lesion",),
    thresholds=(0.5,),
    size=128,
    context_slices=0,
    window_hu=None,
    decoder_channels=(256, 128, 64, 32, 16),
    skip_connections=False,
    decoder_norm=False,
    dice_weight=0.0,
    optimizer="adam",
    learning_rate=1e-4,
    weight_decay=0.0,
    schedule="constant",
    batch_size=16,
    epochs=50,
)
"""The original system: a single lesion logit, on min-max scaled slices."""

DEFAULT = Recipe(
    name="default",
    classes=("liver", "lesion"),
    thresholds=(0.5, 0.5),
    size=192,
    context_slices=1,
    window_hu=(0.0, 160.0),
    decoder_channels=(32, 24, 16, 16),
    skip_connections=True,
    decoder_norm=True,
    dice_weight=1.0,
    optimizer="adamw",
    learning_rate=1.4e-3,
    weight_decay=1e-2,
    schedule="late",
    batch_size=8,
    epochs=20,
    warmup_steps=50,
    ema_decay=0.998,
    clip_norm=5.0,
    lesion_share=0.35,
    liver_share=0.3,
    case_balance=0.5,
    rotation_degrees=15.0,
    zoom=0.25,
    shift=0.08,
    elastic=0.006,
    intensity_augmentation=0.2,
    fatty_livers=0.25,
    synthetic_lesions=0.4,
    neighbour_reach=3,
    made_up_neighbours=0.75,
    crop=128,
    whole_slices=0.1,
    soft_labels=True,
    subpixel_head=True,
    tta=("flip_slices",),
)
"""Liver and lesion from three slices, a U-Net with a sub-pixel head, trained on crops.

Measured on the 31 volumes of three folds by patient, 132,000 crops in batches of 32 (model card):
liver Dice 0.938, lesion Dice 0.441; the recipe of version 0.2 has 0.932 and 0.373, the baseline
0.748 and 0. On the same folds, but after 20,000 crops, the lesion Dice changes by -0.024 without
synthetic lesions, -0.012 with nearest labels, -0.014 with single slices, and -0.014 with another
seed: no proof of any. Neighbours show in precision: 110 of 234 claimed lesions are right, of 363
with single slices 120. Measured in one run each, on other held-out LiTS patients: 256 x 256 gained
nothing over 192 x 192 in equal time.

Computed: what the grid of the logits bounds (see `subpixel_head`), and that nearest labels bound
the lesion Dice at 0.92 on 192 x 192, area means at 0.98. Crops of 128 halve the cost of a step. The
late schedule makes a run extensible. The window lies within what all public copies of LiTS hold.
Skips, the Dice term and four decoder stages were compared in short runs of an earlier recipe (model
card).

Not measured one by one: the shares of slices, the balance of cases, rates of augmentation, made-up
neighbours and their distances, learning rate, average. They are what these trainings used.
"""

RECIPES = {recipe.name: recipe for recipe in (DEFAULT, BASELINE)}
