"""The simulator and the training step beside their peers; `bench.py` is the driver, `scripts/bench` runs it."""
