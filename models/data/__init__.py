"""Films with region boxes for training and judging: readers, splits, and tensors ready for the network."""
