"""Sentence embeddings; the model comes in a wheel, 80 MB, so these tests are slow."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np

from trustllm_repro.models.embedding import MAX_TOKENS, Embedder, minilm

TEXTS = [
    "The cat sleeps on the warm stove.",
    "A cat is asleep on top of the heated oven.",
    "Interest rates rose by a quarter of a percent.",
    "",
    "word " * 400,
    "Grüße, 你好 \U0001f600",
]
pytestmark = pytest.mark.slow


@pytest.fixture
def embed(real_data) -> Embedder:
    return real_data(minilm)


def test_vectors_have_length_one_and_like_is_near_like(embed):
    made = embed(TEXTS)
    assert made.shape == (len(TEXTS), 384)
    assert made.dtype == np.float32
    assert np.linalg.norm(made, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    near = made @ made.T
    assert near[0, 1] > 0.7 > 0.3 > near[0, 2]


def test_a_vector_does_not_depend_on_the_batch(embed):
    made = embed(TEXTS * 3)
    alone = np.concatenate([embed([t]) for t in TEXTS])
    assert made[: len(TEXTS)] == pytest.approx(alone, abs=1e-5)
    assert np.array_equal(made[: len(TEXTS)], made[len(TEXTS) : 2 * len(TEXTS)])
    small = Embedder.__new__(Embedder)
    small.tokenizer, small.model, small.batch_tokens = embed.tokenizer, embed.model, 1
    assert small(TEXTS) == pytest.approx(alone, abs=1e-5)


def test_what_comes_after_the_limit_does_not_count(embed):
    long = "word " * (2 * MAX_TOKENS)
    assert np.array_equal(embed([long]), embed([long + "and then something else"]))


def test_no_texts_no_vectors(embed):
    assert embed([]).shape == (0, 384)
