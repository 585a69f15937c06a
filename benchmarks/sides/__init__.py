"""What train_step.py times: a case, our step of it, and timm's."""
