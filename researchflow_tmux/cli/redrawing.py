"""Pictures that are drawn again and again until Ctrl-C: in place on a terminal, one after another elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable

import click

from researchflow_tmux.cli import layout

REDRAW_S = 1.0
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def again_and_again(once: Callable[[], None], *, in_place: bool) -> None:
    """Call `once` every second; Ctrl-C is the way out, and no failure."""
    pause = threading.Event()  # never set: a bounded wait
    if in_place and sys.stdout.isatty():
        sys.stdout.write(HOME + CLEAR_BELOW)
    try:
        while True:
            once()
            pause.wait(REDRAW_S)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None


def redraw(blocks_for: Callable[[os.terminal_size], list[layout.Block]]) -> None:
    """Draw over what was there, cut to the terminal."""
    size = shutil.get_terminal_size()
    lines = layout.render(blocks_for(size), width=size.columns, colour=layout.wants_colour())[: size.lines - 1]
    sys.stdout.write(HOME + "".join(f"{text}{CLEAR_LINE}\n" for text in lines) + CLEAR_BELOW)
    sys.stdout.flush()
