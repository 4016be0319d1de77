"""Whether numbers follow a distribution."""

import math

import torch


def deviation_from_uniform(values):
    """The Kolmogorov-Smirnov statistic, times the root of the sample's size."""
    ordered = torch.tensor(sorted(values), dtype=torch.float64)
    n = len(ordered)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    gap = torch.maximum((steps[1:] - ordered).abs().max(), (ordered - steps[:-1]).abs().max())
    return float(gap) * math.sqrt(n)
