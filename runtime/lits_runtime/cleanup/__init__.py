"""Labels cleaned up in 3D as slices pass: largest liver, lesions inside it, least lesion volume."""
