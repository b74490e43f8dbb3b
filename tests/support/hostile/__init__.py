"""Input that must be refused: files, models, requests, made from valid ones."""
