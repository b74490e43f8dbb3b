"""Real servers, clusters and browsers on loopback."""
