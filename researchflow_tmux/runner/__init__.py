"""What runs inside the pane and owns one attempt: claim, leases, limits, stopping, reaping, exit record.

Stdlib only and nothing of the rest of the package: the runner must start in milliseconds, stay small beside the job
and keep working while the scheduler is dead. Each file format has one module here that both writes and reads it, so
the scheduler imports its readers: `spec`, `claim`, `record`, `stopping`, `tickets`, `reap`.
"""
