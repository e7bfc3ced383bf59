"""The authors' released checkpoints: their layout, read and written without their code."""
