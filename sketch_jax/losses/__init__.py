"""Losses over soft targets, in float32 log space, and what their logits say of the classes."""
