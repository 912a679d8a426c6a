"""Learning rates that change: functions of the number of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lazyarray.errors import OptionError, require


class Scheduler:
    """A learning rate by the number of steps done; linear warm-up first.

    Parameters
    ----------
    base_lr : float
        The rate after the warm-up.
    warmup_steps : int, default 0
        Steps during which the rate grows from `warmup_begin_lr` to `base_lr`.
    warmup_begin_lr : float, default 0
    """

    def __init__(self, base_lr: float, warmup_steps: int = 0, warmup_begin_lr: float = 0.0) -> None:
        require(
            warmup_steps >= 0,
            OptionError,
            type(self).__name__,
            f"warmup_steps must be at least 0, got {warmup_steps}",
        )
        self.base_lr = float(base_lr)
        self.warmup_steps = warmup_steps
        self.warmup_begin_lr = float(warmup_begin_lr)

    def __call__(self, step: int) -> float:
        """Return the learning rate of step number `step`, counted from 0."""
        if step < self.warmup_steps:
            part = step / self.warmup_steps
            return self.warmup_begin_lr + (self.base_lr - self.warmup_begin_lr) * part
        return self.rate(step)

    def rate(self, step: int) -> float:
        """The rate after the warm-up."""
        raise NotImplementedError(f"{type(self).__name__} does not define rate")


class FactorScheduler(Scheduler):
    """Multiplies the rate by `factor` every `step` steps, down to `stop_factor_lr`."""

    def __init__(
        self,
        step: int,
        factor: float = 0.1,
        stop_factor_lr: float = 1e-8,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0.0,
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr)
        require(step > 0, OptionError, "FactorScheduler", f"step must be at least 1, got {step}")
        self.step = step
        self.factor = float(factor)
        self.stop_factor_lr = float(stop_factor_lr)

    def rate(self, step: int) -> float:
        """The rate after the warm-up."""
        return max(self.stop_factor_lr, self.base_lr * self.factor ** (step // self.step))


class MultiStepScheduler(Scheduler):
    """Multiplies the rate by `factor` at each of the given steps."""

    def __init__(
        self,
        steps: Sequence[int],
        factor: float = 0.1,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0.0,
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr)
        require(
            list(steps) == sorted(set(steps)),
            OptionError,
            "MultiStepScheduler",
            f"steps must grow, got {list(steps)}",
        )
        self.steps = list(steps)
        self.factor = float(factor)

    def rate(self, step: int) -> float:
        """The rate after the warm-up."""
        return self.base_lr * self.factor ** sum(step >= each for each in self.steps)


class CosineScheduler(Scheduler):
    """Half a cosine from `base_lr` to `final_lr` (Loshchilov and Hutter 2017, equation 5)."""

    def __init__(
        self,
        max_steps: int,
        base_lr: float = 0.01,
        final_lr: float = 0.0,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0.0,
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr)
        require(
            max_steps > warmup_steps,
            OptionError,
            "CosineScheduler",
            f"max_steps must be more than the warm-up's {warmup_steps}, got {max_steps}",
        )
        self.max_steps = max_steps
        self.final_lr = float(final_lr)

    def rate(self, step: int) -> float:
        """The rate after the warm-up."""
        span = self.max_steps - self.warmup_steps
        part = min(step - self.warmup_steps, span) / span
        return self.final_lr + (self.base_lr - self.final_lr) * (1 + math.cos(math.pi * part)) / 2
