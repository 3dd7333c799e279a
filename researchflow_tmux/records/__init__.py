"""Run records: every ended attempt leaves an entry in the workspace's results, without the job doing anything."""
