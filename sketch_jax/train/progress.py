"""What a user sees while a run trains: a bar on a terminal, a line an epoch everywhere."""

import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sketch_jax.train.loop import Plan, held_out_names


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, or hours.

    >>> clock(75.4)
    '1:15'
    >>> clock(3675.0)
    '1:01:15'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class TrainingProgress:
    """A context manager whose `advance` shows the newest step; the time left is estimated from the pace."""

    def __init__(
        self,
        plan: Plan,
        first_step: int,
        console: Console,
        metric: str = "accuracy",
        clock_now: Callable[[], float] = time.perf_counter,
    ):
        """Shows nothing yet.

        Args:
            plan: lengths.
            first_step: steps that were done before.
            console: where it is shown.
            metric: that selects the best checkpoint; shown beside loss and accuracy.
            clock_now: seconds.
        """
        self._plan, self._first_step, self._console, self._now = plan, first_step, console, clock_now
        self._metric = metric
        self._began = clock_now()
        columns = (
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=plan.steps, completed=first_step)

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def seconds_left(self, step: int) -> float:
        """Estimated seconds to the end of the run."""
        pace = (self._now() - self._began) / max(step - self._first_step, 1)
        return pace * (self._plan.steps - step)

    def advance(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows that a step is done.

        Args:
            step: number of steps done.
            metrics: newest known values, `train/…` and `val/…`.
        """
        left = clock(self.seconds_left(step))
        speed, loss = metrics.get("train/images_per_second", 0.0), metrics.get("train/loss", float("nan"))
        self._bar.update(
            self._task, completed=step, description=f"{speed:,.0f} images/s · loss {loss:.3f} · {left} left"
        )
        if self._plan.ends_epoch(step):
            self._console.print(self._epoch_line(step, metrics, left), highlight=False)

    def _epoch_line(self, step: int, metrics: Mapping[str, float], left: str) -> str:
        epochs = -(-self._plan.steps // self._plan.steps_per_epoch)
        epoch = -(-step // self._plan.steps_per_epoch)
        parts = [f"epoch {epoch:>{len(str(epochs))}}/{epochs}", f"loss {metrics['train/loss']:.4f}"]
        if "val/accuracy" in metrics:
            parts.append(f"val loss {metrics['val/loss']:.4f}, accuracy {metrics['val/accuracy']:.4f}")
            if self._metric not in ("accuracy", "loss"):
                value = next(iter(held_out_names({self._metric: 0.0})))
                parts.append(f"{self._metric} {metrics[value]:.4f}")
        parts += [f"{metrics['train/images_per_second']:,.0f} images/s", f"{left} left"]
        return " · ".join(parts)
