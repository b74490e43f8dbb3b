"""From headers of single objects to volumes: what belongs together, and in which order."""
