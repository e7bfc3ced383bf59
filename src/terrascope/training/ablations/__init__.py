"""The tables of the paper's ablations, repeated: variants of one training, judged on the same questions."""
