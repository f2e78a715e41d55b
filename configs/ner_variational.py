"""Named entities in English tweets (Ritter et al. 2011) with the variational quantum head, one circuit run a word.

Command:   python main.py --config=configs/ner_variational.py --workdir=runs/ner_variational
Time:      a few minutes on 2 CPU cores, less once the features are cached.
Result:    entity F1 0.194 on average over 5 splits x 3 seeds.
"""

from ml_collections import ConfigDict

from qjax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.task = "entities"
    config.data.source = "twitter_ner"
    config.data.max_length = 80  # the longest tweet has 75 word pieces: nothing is cut
    config.train.batch_size = 32
    config.train.num_epochs = 30
    config.train.metric = "f1"  # nearly every word is 'O': accuracy says little
    return config
