"""Makes the repository's ``benchmarks`` importable without hiding an installed dal_fast."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
