"""Pipelines: one file with jobs that need each other, with files that say whether there is anything to do."""
