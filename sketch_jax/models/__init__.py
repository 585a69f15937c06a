"""Architectures as pure functions over parameters named as in timm (the only place that imports flax)."""
