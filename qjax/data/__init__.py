"""Text with labels: sources, readers, splits, word pieces and batches."""

from qjax.data.batches import BatchIndices as BatchIndices
from qjax.data.batches import BatchStream as BatchStream
from qjax.data.batches import batch_plan as batch_plan
from qjax.data.batches import batches_per_epoch as batches_per_epoch
from qjax.data.batches import pad_rows as pad_rows
from qjax.data.dataset import Dataset as Dataset
from qjax.data.dataset import load_dataset as load_dataset
from qjax.data.dataset import num_shared_items as num_shared_items
from qjax.data.dataset import read_labelled as read_labelled
from qjax.data.dataset import split_hash as split_hash
from qjax.data.readers import InputLine as InputLine
from qjax.data.readers import read_lines as read_lines
from qjax.data.sources import SOURCES as SOURCES
from qjax.data.sources import cache_dir as cache_dir
from qjax.data.sources import fetch as fetch
from qjax.data.sources import resolve_checkpoint as resolve_checkpoint
from qjax.data.tokenization import Encoded as Encoded
from qjax.data.tokenization import EncodedWords as EncodedWords
from qjax.data.tokenization import Tokenizer as Tokenizer
from qjax.data.tokenization import load_tokenizer as load_tokenizer
from qjax.data.tokenization import random_tokenizer as random_tokenizer
