"""What the operating system and the installation offer: processors, threads, signals, versions."""
