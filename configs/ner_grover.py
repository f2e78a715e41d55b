"""Named entities in English tweets with the Grover head: 21 tags on 5 label qubits, one run a word and tag.

An even distribution gives a label 1/32, and one round with fixed phases takes 0.25 to 1.

Command:   python main.py --config=configs/ner_grover.py --workdir=runs/ner_grover
Time:      about a minute on one CPU core once the features are cached.
Result:    entity F1 0.337 on average over 5 splits x 3 seeds.
"""

from ml_collections import ConfigDict

from qjax.configs import ner_variational


def get_config() -> ConfigDict:
    config = ner_variational.get_config()
    config.head.name = "grover"
    config.head.num_iterations = 1
    config.head.phases = "trainable"
    config.optimizer.learning_rate = 3e-3  # see default.py
    return config
