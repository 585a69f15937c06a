"""What a user sets about checkpoints and logs (imports no jax, so that `--help` starts fast)."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """What is kept on disk of a run in progress; a checkpoint is taken at the end of each epoch."""

    keep_last: int = 2
    """Newest checkpoints that are kept, beside the best one; at least 1."""
    every_steps: int | None = None
    """Steps between further checkpoints within an epoch; None: at the ends of epochs only."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Logging:
    """What is written down, how often."""

    every_steps: int = 20
    """Steps between lines of training metrics; at the ends of epochs there is one always."""
    tensorboard: bool = True
    """Also write TensorBoard event files."""
