"""Label values, class names, and the mask of each class."""

TYPE_CHECKING = False  # commands start without NumPy
if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

BACKGROUND, LIVER, LESION = 0, 1, 2
LABEL_VALUES = {"liver": LIVER, "lesion": LESION}
"""By class name, in the order of a model's channels."""

COLOURS = {"liver": "#f0e442", "lesion": "#d55e00"}
"""By class name, sRGB: yellow and vermilion of Okabe and Ito (2008), which colour-blind readers
can distinguish, on black and on a CT."""


def liver_mask(labels: "NDArray[Any]") -> "NDArray[np.bool_]":
    """Voxels of the liver, including its lesions; labels may have any shape.

    >>> import numpy as np
    >>> liver_mask(np.array([0, 1, 2]))
    array([False,  True,  True])
    """
    mask: NDArray[np.bool_] = labels >= LIVER
    return mask


def lesion_mask(labels: "NDArray[Any]") -> "NDArray[np.bool_]":
    """Voxels of lesions; labels may have any shape.

    >>> import numpy as np
    >>> lesion_mask(np.array([0, 1, 2]))
    array([False, False,  True])
    """
    mask: NDArray[np.bool_] = labels == LESION
    return mask


MASKS = {"liver": liver_mask, "lesion": lesion_mask}
"""By class name."""
