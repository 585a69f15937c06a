"""Commands that convert and verify weights; the only place that may import torch or timm."""
