"""A machine in memory for tests: the real scheduler on a virtual clock, with scripted GPUs and jobs."""
