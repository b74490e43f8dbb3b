"""Recipes: every setting that makes a network, its input and its training, in one dataclass."""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from lits_runtime.errors import CheckpointError
from lits_runtime.labels import LABEL_VALUES
from lits_train.limits import MOST_BATCH_PIXELS, RECIPE_LIMITS, check_fields, shown

LESION_UNKNOWN = 3
"""Label in training arrays only: liver that may or may not be lesion."""

CHOICES = {
    "classes": tuple(LABEL_VALUES),
    "optimizer": ("adam", "adamw"),
    "schedule": ("constant", "cosine", "late", "poly"),
    "tta": ("flip_slices",),
}


@dataclass(frozen=True)
class Recipe:
    """Settings of one way to train; a checkpoint carries them, so that it can be rebuilt."""

    name: str
    classes: tuple[str, ...]
    """Logits of the network, in order; names are keys of `LABEL_VALUES`."""
    thresholds: tuple[float, ...]
    """Probability from which a voxel belongs to the class."""
    size: int
    """Working size: slices are resized to size x size."""
    context_slices: int
    """Neighbours on either side that the network sees: 0, or 1 to fill all three channels."""
    window_hu: tuple[float, float] | None
    """HU mapped to 0 and 1, clipped outside. None: minimum and maximum of each slice."""
    decoder_channels: tuple[int, ...]
    """Width of each upsampling stage. Five stages reach the working size, four half of it."""
    skip_connections: bool
    """Feed the encoder's stages to the decoder's of the same size, as a U-Net does."""
    decoder_norm: bool
    """Batch normalisation after the decoder's convolutions."""
    dice_weight: float
    """Weight of a soft Dice term beside the binary cross-entropy."""
    optimizer: str
    """"adam" or "adamw"."""
    learning_rate: float
    weight_decay: float
    schedule: str
    """"constant", or over the steps of the run down to zero: "cosine", half a cosine; "late", the
    same over the last fifth alone, so that a run stopped before can be made longer; or "poly",
    (1 - step / steps) ** 0.9 as in nnU-Net."""
    batch_size: int
    """Slices in one step, over all processes."""
    epochs: int
    # What follows came later; a checkpoint without it was trained with these values.
    warmup_steps: int = 0
    """The learning rate rises linearly over these."""
    ema_decay: float = 0.0
    """Validate and keep the exponential moving average of the weights. 0: keep the weights."""
    clip_norm: float = 0.0
    """Largest norm of the gradients. 0: not clipped."""
    focal_gamma: float = 0.0
    """Exponent of the focal factor of the cross-entropy (Lin et al., ICCV 2017). 0: plain."""
    epoch_slices: int = 0
    """Slices drawn in one epoch. 0: as many as there are."""
    lesion_share: float = 0.0
    """Part of the drawn slices that hold a lesion, where cases have them."""
    liver_share: float = 0.0
    """Part of the drawn slices that hold liver but no lesion. Both 0: slices as they come."""
    case_balance: float = 0.0
    """Of a share of lesion or liver slices, a case with n of them gets a part in proportion to
    n ** (1 - case_balance). 0: each slice counts alike; 1: each case, as in a mean over cases."""
    rotation_degrees: float = 0.0
    """Largest in-plane rotation, either way."""
    zoom: float = 0.0
    """Largest relative change of size and, separately, of aspect: 0.25 is 1 / 1.25 to 1.25."""
    shift: float = 0.0
    """Largest shift, in parts of the slice."""
    elastic: float = 0.0
    """Standard deviation of a smooth displacement field, in parts of the slice."""
    intensity_augmentation: float = 0.0
    """Probability, for each slice and each kind, of noise, blur, gamma, contrast and thickness."""
    synthetic_lesions: float = 0.0
    """Probability that a liver slice is given synthetic lesions."""
    neighbour_reach: int = 1
    """Training draws how far away the context slices are: up to so many slices, or nearer than the
    next. A network that only knew 2 mm would not know what to make of 0.7 mm, nor of 5 mm."""
    made_up_neighbours: float = 0.0
    """Probability that a slice whose neighbours nobody has is given neighbours: itself, a little
    deformed; else they are the slice itself."""
    crop: int = 0
    """Training sees so many rows and columns, around a lesion or the liver where there are; 0: all.
    The network is the same, and is scored and used on whole slices."""
    soft_labels: bool = False
    """Targets are what part of a pixel is liver and lesion; else the label of its nearest voxel."""
    subpixel_head: bool = False
    """The head makes four logits of each pixel: a stage's resolution for next to none of its cost.

    What a lesion can score is bounded by the grid of the logits. Area means of the true masks of 25
    LiTS volumes, resized back as logits, reach a mean lesion Dice of 0.901 on 96 x 96 (the smallest
    lesion 0.37), 0.956 on 128 x 128, 0.976 on 192 x 192 and 0.990 on 256 x 256."""
    tta: tuple[str, ...] = ()
    """Flips that the network trains with and that may be averaged over: "flip_slices"."""

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
            CheckpointError: keys are missing or unknown, or a value is not possible.
        """
        if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
            raise CheckpointError("the checkpoint's recipe is no settings by name")
        known = {field.name for field in fields(cls)}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if not needed <= set(settings) <= known:
            missing, extra = sorted(needed - set(settings)), sorted(set(settings) - known)
            raise CheckpointError(
                f"the checkpoint's recipe lacks {missing} and has unknown {shown(extra)}; it was "
                "written by another version of lits-toolkit"
            )
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in settings.items()
        }
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's recipe is not usable: {error}") from error

    def override(self, **settings: Any) -> "Recipe":
        """The recipe with those settings replaced that are not None."""
        return replace(self, **{key: value for key, value in settings.items() if value is not None})


def _check_together(recipe: Recipe) -> None:
    """Values that are possible alone and not together, and lengths of tuples."""
    if recipe.size % 32:
        raise ValueError(f"size {recipe.size}: expected a multiple of 32, the encoder's stride")
    ordered = tuple(name for name in LABEL_VALUES if name in recipe.classes)
    if not recipe.classes or recipe.classes != ordered:
        raise ValueError(
            f"classes {recipe.classes}: expected some of {list(LABEL_VALUES)}, in this order: a "
            "lesion lies in the liver and is drawn over it"
        )
    if len(recipe.thresholds) != len(recipe.classes):
        raise ValueError(
            f"thresholds {recipe.thresholds}: expected one for each of {recipe.classes}"
        )
    if recipe.crop % 32 or recipe.crop >= recipe.size:
        raise ValueError(
            f"crop {recipe.crop}: expected a multiple of 32 below size {recipe.size}, or 0"
        )
    if recipe.subpixel_head and len(recipe.decoder_channels) > 4:
        raise ValueError("subpixel_head: five decoder stages reach the working size without it")
    if not 1 <= len(recipe.decoder_channels) <= 5:
        raise ValueError(f"decoder_channels {recipe.decoder_channels}: expected 1 to 5 stages")
    if recipe.window_hu and not recipe.window_hu[1] - recipe.window_hu[0] >= 1:
        raise ValueError(f"window_hu {recipe.window_hu}: expected low, high, at least 1 HU apart")
    if recipe.lesion_share + recipe.liver_share > 1:
        raise ValueError(
            f"lesion_share {recipe.lesion_share} and liver_share {recipe.liver_share}: "
            "expected at most 1 together"
        )
    if recipe.batch_size * recipe.size**2 > MOST_BATCH_PIXELS:
        raise ValueError(
            f"batch_size {recipe.batch_size} of size {recipe.size}: more pixels than fit in any "
            f"memory; expected batch_size * size * size up to {MOST_BATCH_PIXELS}"
        )


SEED = Recipe(
    name="seed",
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
"""The system that this project grew from: one lesion logit on min-max scaled slices."""

DEFAULT = Recipe(
    name="default",
    classes=("liver", "lesion"),
    thresholds=(0.5, 0.5),
    size=256,
    context_slices=1,
    window_hu=(0.0, 250.0),
    decoder_channels=(32, 24, 16, 16),
    skip_connections=True,
    decoder_norm=True,
    dice_weight=1.0,
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=1e-2,
    schedule="cosine",
    batch_size=16,
    epochs=50,
    warmup_steps=50,
    ema_decay=0.999,
    clip_norm=5.0,
    lesion_share=0.3,
    liver_share=0.5,
    rotation_degrees=15.0,
    zoom=0.25,
    shift=0.08,
    elastic=0.008,
    intensity_augmentation=0.2,
    synthetic_lesions=0.5,
    tta=("flip_slices",),
)
"""Liver and lesion, neighbouring slices, U-Net skips, augmentation, lesions painted into livers.

The window is about what nnU-Net measures inside the livers of LiTS (percentiles 0.5 and 99.5: -17
and 201 HU). Half the working size comes out of four decoder stages: a fifth costs more than it
gives, and so do wider ones (`lits_tools.bundled.ablation`).
"""

RECIPES = {recipe.name: recipe for recipe in (DEFAULT, SEED)}
