"""Operating system and installation: processors, threads, signals, process settings, versions."""
