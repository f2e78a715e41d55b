"""One algorithm a file, data only; run by `--mode=algorithm`. Each file is the list of its algorithm's keys."""
