"""Files for the eye, made from a scan and its mask when somebody asks for them."""
