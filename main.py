"""Trains, evaluates, predicts with, exports or explains one model; or runs a quantum algorithm.

usage: python main.py --config=configs/NAME.py --workdir=DIR [--mode=MODE] [--config.SECTION.KEY=VALUE ...]

`qjax/main.py` has the modes and the flags; where qjax is installed, the command `qjax` does the same.
"""

import sys

from qjax.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
