"""Labelled images: sources, splits, decoding and the input pipeline (host only, no device is touched)."""
