"""Scans in and maps out: the NIfTI gate, brain masks, the model's grid and intensities, BIDS."""
