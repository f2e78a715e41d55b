"""Sentiment of movie-review snippets with the Grover head: one round of amplification a class, phases trained.

With two classes an even distribution gives a label 0.5, and one round with fixed phases takes 0.25 to 1: it
overshoots from the start and folds the decision (`qjax/models/grover_head.py`). Trained phases may undo that.

Command:   python main.py --config=configs/sentiment_grover.py --workdir=runs/sentiment_grover
Time:      about 2 minutes on 2 CPU cores, less once the features are cached.
Result:    test accuracy 0.768 on average over 5 splits x 3 seeds.
"""

from ml_collections import ConfigDict

from qjax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.head.name = "grover"
    config.head.num_iterations = 1
    config.head.phases = "trainable"
    config.optimizer.learning_rate = 3e-3  # see default.py
    return config
