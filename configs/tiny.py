"""The whole path in seconds, for tests: a random encoder of two layers, 200 reviews, a head of 3 qubits.

Command:   python main.py --config=configs/tiny.py --workdir=runs/tiny
Time:      about 15 seconds on 2 CPU cores, most of it compilation.
Result:    near the majority class; nothing is to be learnt from random features and 200 texts.
"""

from ml_collections import ConfigDict

from qjax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.max_examples = 200
    config.data.max_length = 24
    config.encoder.checkpoint = "random"
    config.encoder.random_num_layers = 2
    config.encoder.random_hidden_size = 32
    config.encoder.random_num_heads = 2
    config.head.num_qubits = 3
    config.head.reps = 1
    config.train.batch_size = 16
    config.train.num_epochs = 2
    config.train.eval_every = 5
    config.train.log_every = 2
    config.train.patience = 0
    return config
