"""The one source of chance of the simulator: the same seed gives the same numbers, on every machine and Python."""

from __future__ import annotations

import math
import random


class Chance:
    """A stream of numbers from a seed. Streams of other `purpose`s are independent of it."""

    def __init__(self, seed: int, purpose: str) -> None:
        self._source = random.Random(f"{seed}:{purpose}")

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Evenly between the two."""
        return low + (high - low) * self._source.random()

    def log_uniform(self, low: float, high: float) -> float:
        """Evenly between the two on a logarithmic scale."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def exponential(self, mean: float) -> float:
        """Time to the next arrival of a Poisson stream."""
        return -mean * math.log(1.0 - self._source.random())

    def pick(self, chances: dict[int, float]) -> int:
        """One of the keys, each as likely as its value says."""
        left = self.uniform(0.0, sum(chances.values()))
        for value, chance in chances.items():
            left -= chance
            if left < 0:
                return value
        return next(reversed(chances))
