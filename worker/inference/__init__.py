"""Arrow 4, from stored bytes to probabilities: decode, preprocess, batch, predict, commit."""
