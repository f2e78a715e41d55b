"""Sentiment of movie-review snippets: frozen MiniLM features and a variational quantum head.

Command:   scripts/run                      (or: python main.py --config=configs/default.py --workdir=runs/default)
Time:      about 2 minutes on 2 CPU cores, most of it encoding the text once; later runs reuse the features.
Result:    test accuracy about 0.77 (majority class 0.50); the README has the table with intervals.

Every key of every configuration stands here, with its comment; other files in this folder start from
`get_config()` and change values. A key that is not here is an error, and so is a changed key that the chosen
task, head or regime does not read.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.task = "sentence"  # 'sentence': one label a text | 'entities': one BIO tag a word
    config.seed = 0  # initial parameters, order of the batches and dropout

    data = config.data = ConfigDict()
    data.source = "movie_reviews"  # 'movie_reviews' | 'twitter_ner' | 'file' (then set data.path)
    data.path = ""  # 'file': TSV, CSV, JSON lines (sentence) or CoNLL columns (entities); split by split_seed
    data.validation_path = ""  # 'file': a validation file of its own; '' takes a share of data.path
    data.test_path = ""  # 'file': a test file of its own; '' takes a share of data.path
    data.text_column = "text"  # 'file', sentence: column (or JSON key) of the text
    data.label_column = "label"  # 'file', sentence: column (or JSON key) of the label
    data.labels = ()  # 'file': label names in order; () discovers them in the training split, sorted
    data.split_seed = 0  # seed of the stratified split
    data.validation_fraction = 0.1  # share of the examples
    data.test_fraction = 0.1  # share of the examples
    data.max_examples = 0  # use at most this many examples of each file, drawn by split_seed; 0 uses all
    data.max_length = 64  # word pieces a text, special ones included; longer texts are cut, and it is said
    data.bucket_lengths = ()  # a batch is padded to the first of these that fits; () takes 16, 24, 32, 48, ...

    encoder = config.encoder = ConfigDict()
    encoder.checkpoint = "minilm"  # 'minilm' | 'random' | a Hugging Face style directory | a hub name
    encoder.regime = "frozen"  # 'frozen': features computed once and cached | 'full': trained with the head
    encoder.num_frozen_layers = 0  # 'full': embeddings and this many first layers stay fixed; 0 trains all
    encoder.pooling = "mean"  # sentence: 'mean' over real tokens | 'cls': first token
    encoder.dtype = "float32"  # of the computation, 'float32' | 'bfloat16'; parameters are float32
    encoder.remat = False  # 'full': recompute activations in the reverse pass, slower and smaller
    encoder.dropout = -1.0  # 'full': hidden and attention dropout; -1 takes the checkpoint's
    encoder.random_num_layers = 2  # 'random': layers
    encoder.random_hidden_size = 32  # 'random': features a token
    encoder.random_num_heads = 2  # 'random': attention heads

    head = config.head = ConfigDict()
    head.name = "variational"  # 'variational' | 'grover' | 'linear' | 'mlp'
    head.dropout = 0.2  # on the features
    head.num_qubits = 8  # 'variational', 'grover'
    head.encoding_axis = "ry"  # 'variational', 'grover': rotation that carries the angles, 'rx' | 'ry'
    head.reps = 3  # 'variational', 'grover': layers of the ansatz
    head.rotations = ("ry", "rz")  # 'variational', 'grover': rotations on each qubit in a layer
    head.entangler = "cx"  # 'variational', 'grover': two-qubit gate, 'cx' | 'cz'
    head.pattern = "ring"  # 'variational', 'grover': 'ring' | 'linear' | 'full' | 'none'
    head.readout = "expectation"  # 'variational': 'expectation' (<Z> to logits) | 'log_probabilities'
    head.num_iterations = 1  # 'grover': rounds of amplification a class; at most Grover's number for num_qubits
    head.phases = "fixed"  # 'grover': angles of the reflections, 'fixed' (pi) | 'trainable' (near pi at first)
    head.simulation = "probabilities"  # 'grover': rounds on the labels' 'probabilities' (fast, exact) | on 'states'
    head.hidden_size = 8  # 'mlp': units; 8 has the parameter count of the 8-qubit head to within 5 %

    optimizer = config.optimizer = ConfigDict()
    # Of six rates the best for this head, on frozen features, by validation scores on four data sets; so are those in
    # the other files (benchmarks/learning_rates.py): 'linear', 'mlp' 3e-2; 'grover' with trainable phases 3e-3.
    optimizer.learning_rate = 1e-2  # peak, of the head's classical parameters
    optimizer.circuit_learning_rate = 1e-2  # peak, of the circuit's angles ('variational', 'grover')
    optimizer.encoder_learning_rate = 5e-5  # peak, of the encoder ('full')
    optimizer.warmup_fraction = 0.05  # share of the steps that rise linearly from 0
    optimizer.schedule = "cosine"  # after the warm-up: 'cosine' | 'linear' | 'constant'
    optimizer.weight_decay = 1e-2  # AdamW; not on biases, layer norms and circuit angles
    optimizer.clip_norm = 1.0  # global norm of the gradient
    optimizer.name = "adamw"  # 'adamw' | 'sgd' (no momentum: for comparing devices)

    train = config.train = ConfigDict()
    train.batch_size = 64  # examples a step, over all devices and micro-batches
    train.num_epochs = 10  # at most; early stopping may end the run before
    train.gradient_accumulation = 1  # micro-batches a step
    train.eval_every = 100  # steps between validations; each saves a checkpoint
    train.log_every = 20  # steps between lines of metrics.jsonl
    # Of equal values the lower validation loss wins. 'f1' is the mean over classes, for entities that of all types
    # together; 'macro_f1' the mean over classes or types; 'balanced_accuracy' (sentence) the mean recall of classes.
    train.metric = "accuracy"  # selects the best step: 'accuracy' | 'balanced_accuracy' | 'f1' | 'macro_f1' | 'loss'
    train.patience = 10  # validations without a better metric before stopping; 0 never stops early
    train.keep_best = 1  # best checkpoints kept, beside the last
    train.parallel = "shard_map"  # wrapper of the step: 'shard_map' | 'pmap'
    train.num_devices = 0  # devices of the data axis; 0 takes all
    return config
