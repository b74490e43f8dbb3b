"""What is measured, and how its figures are told."""
