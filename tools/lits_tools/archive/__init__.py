"""A whole archive: its manifest and cost before, its state during, and its report after a run."""
