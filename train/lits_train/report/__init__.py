"""What became of a training run: its metrics, learning curves and a page."""
