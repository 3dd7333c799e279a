"""Telling the outside world what happened: commands and webhooks, beside the scheduler's loop."""
