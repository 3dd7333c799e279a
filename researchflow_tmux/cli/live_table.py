"""The scheduler's screen."""

from __future__ import annotations

from researchflow_tmux.daemon import Daemon


class LiveTable:
    """Draws the live table."""

    def draw(self, daemon: Daemon) -> None:
        """Draw it once."""
