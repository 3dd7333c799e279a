"""Sweep files: one YAML file that stands for many jobs."""
