"""The engine: many reasonings at once, on one model, each as if it were alone."""
