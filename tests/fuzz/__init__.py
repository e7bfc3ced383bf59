"""Random rasters, masks and texts, and what must hold of each: shared by the tests and `benchmarks/fuzz.py`."""
