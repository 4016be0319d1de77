"""Synthetic scans of any contrast, with and without lesions, from label maps."""
