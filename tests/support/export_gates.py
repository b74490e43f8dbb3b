"""Tolerances of the exports that tests share."""

from lits_export.parity.tolerance import TOLERANCES, Tolerance

GATES = TOLERANCES | {"int8": Tolerance(None, dice=0.9, volume_percent=10)}
"""An untrained network's masks have no margins: int8 moves more of their voxels."""
