"""Pretrained weights: where they come from, and the two-way rules between timm and flax names."""
