"""Records: the JSON beside a mask that commits it and says which files are ours."""
