"""Augmentation on the device, in ink space: 0 is paper, 1 is ink."""
