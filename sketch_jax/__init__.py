"""Fine-tune pretrained timm vision models on sketches, in JAX."""

__version__ = "0.1.0"
