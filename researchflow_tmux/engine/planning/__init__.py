"""The policies of `policies.planning` over the jobs of a workload: who waits, what runs, and which of them start."""
