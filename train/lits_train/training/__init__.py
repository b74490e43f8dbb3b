"""The training loop: steps, losses, validation and logs."""
