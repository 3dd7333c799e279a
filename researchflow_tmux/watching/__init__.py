"""Watching GPUs and jobs beside the scheduler's loop: measuring them, and the file that lists the GPUs to be used."""
