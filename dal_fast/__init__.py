"""Unsupervised anomaly detection in brain MRI. Research software, not a medical device."""

from dal_fast.errors import InputError

__version__ = "0.1.0"
__all__ = ["InputError", "__version__"]
