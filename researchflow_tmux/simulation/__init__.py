"""A machine that is not there: scripted GPUs and leases, for demos, the simulator and tests."""
