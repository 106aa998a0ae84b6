"""Which part of the training is worth what: variants of it at one budget, judged alike."""
