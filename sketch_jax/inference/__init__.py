"""Inference: predictions over a table of examples, and the submission made of them."""
