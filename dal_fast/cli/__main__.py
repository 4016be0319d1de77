"""``python -m dal_fast.cli``, and under torchrun."""

from dal_fast.cli import main

main()
