"""Workloads on a machine in memory: traces and made-up ones through the real engine, and what came of it in figures."""
