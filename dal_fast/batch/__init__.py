"""Many scans: jobs, worker processes, outputs on disk, and cohorts."""
