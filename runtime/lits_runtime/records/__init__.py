"""Records: the JSON beside a mask that commits it, and by which we know the files that we wrote."""
