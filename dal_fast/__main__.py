"""``python -m dal_fast``."""

from dal_fast.cli import main

main()
