"""Training: configuration, augmentation, losses and one loop scheduled by the clock."""
