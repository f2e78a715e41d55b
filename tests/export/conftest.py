"""Lets the tests here import `dense_reference`, the algebra that lies beside the tests of the quantum core."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "quantum"))
