"""Our ops and their peers, verified, then timed side by side: ``python -m benchmarks.run``."""
