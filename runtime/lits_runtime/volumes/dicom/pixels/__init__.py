"""The pixels of a slice: decoded from any transfer syntax, and in Hounsfield units."""
