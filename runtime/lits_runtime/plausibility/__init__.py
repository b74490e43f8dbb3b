"""Whether values, grid and result look like CT of the abdomen: warnings, not errors."""
