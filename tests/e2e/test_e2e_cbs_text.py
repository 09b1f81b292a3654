"""The text and the task on it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from e2e import corpus
from e2e.cbs.tasks import require_memory
from e2e.cbs.text import Text, windows
from e2e.cbs.text_model import SMALL, TARGET, UNIFORM, VOCABULARY
from e2e.cbs.train import Rule, train
from e2e.cbs.trials import Trial
from harness import models
from harness.errors import Skip

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums come out the same whatever else runs here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def task() -> Text:
    return Text.make(SMALL, 64, 0.1, CPU, 1)


def test_the_text_is_a_megabyte_of_english_with_a_part_held_out() -> None:
    train_lines, held = corpus.lines()
    assert sum(map(len, train_lines)) > 1_000_000
    assert 0.04 < sum(map(len, held)) / sum(map(len, train_lines)) < 0.07
    assert not set(train_lines) & set(held)
    words = " ".join(held).lower().split()
    assert {"the", "and", "of", "that"} < set(words)


def test_tokens_use_the_vocabulary_and_are_the_same_every_time() -> None:
    first, held = corpus.tokens(VOCABULARY)
    corpus.tokens.cache_clear()
    again, _ = corpus.tokens(VOCABULARY)
    assert np.array_equal(first, again)
    assert len(first) > 1_000_000
    assert first.min() >= 0
    assert first.max() == VOCABULARY - 1
    assert np.isin(held, first).all()


def test_windows_leave_no_token_out_and_share_only_their_ends() -> None:
    cut = windows(np.arange(30), 7)
    assert cut.shape == (4, 8)
    assert cut[:, 1:].flatten().tolist() == list(range(1, 29))


def test_an_untrained_model_knows_nothing(task: Text) -> None:
    assert task.initial == pytest.approx(UNIFORM, abs=0.1)
    assert task.initial > TARGET
    assert math.log(VOCABULARY) == UNIFORM


def test_no_window_comes_twice_in_a_pass_and_all_come(task: Text) -> None:
    course = task.begin(500, (1, 2))
    count, taken = len(task.train), list[bytes]()
    for step in range(1 + count // 500):
        taken += [row.numpy().tobytes() for row in course._sequences(step * 500)]
    first, rest = taken[:count], taken[count:]
    everything = [row.numpy().tobytes() for row in task.train]
    assert sorted(first) == sorted(everything)
    assert rest != first[: len(rest)]  # another order in the next pass


def test_the_model_learns_and_a_checkpoint_goes_on_exactly(task: Text, tmp_path: Path) -> None:
    """What is left out of a checkpoint (AdamW's averages, its step, the averaged weights) changes the next losses."""
    whole, cut = task.begin(8, (3,)), task.begin(8, (3,))
    for number in range(1, 9):
        whole.step(number, 0.01)
    for number in range(1, 5):
        cut.step(number, 0.01)
    box = tmp_path / "state.npz"
    np.savez(box, **cut.state())
    again = task.begin(8, (3,))
    with np.load(box, allow_pickle=False) as held:
        again.restore(dict(held))
    for number in range(5, 9):
        again.step(number, 0.01)
    assert again.loss() == whole.loss()
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters, again.parameters, strict=True))
    assert whole.loss() < task.initial - 0.2
    assert again.pairs() == whole.pairs()
    assert len(again.pairs()[0]) == 8
    assert again.passes == pytest.approx(8 * 8 / len(task.train))


def test_losses_are_of_the_averaged_weights_and_leave_the_trained_ones_alone(task: Text) -> None:
    course = task.begin(4, (3,))
    course.step(1, 0.05)
    before = [one.detach().clone() for one in course.parameters]
    averaged = course.loss()
    assert all(torch.equal(one, other) for one, other in zip(before, course.parameters, strict=True))
    with torch.no_grad():
        torch._foreach_copy_(course._averaged, course.parameters)
    assert course.loss() != averaged


def test_a_large_batch_in_parts_has_the_gradient_of_the_whole(task: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = task.begin(12, (3,))
    whole.step(1, 0.01)
    monkeypatch.setattr("e2e.cbs.text.AT_ONCE", 5 * 65)
    parts = task.begin(12, (3,))
    parts.step(1, 0.01)
    for one, other in zip(whole.parameters, parts.parameters, strict=True):
        assert torch.allclose(one, other, atol=2e-3)  # Adam's first step is rate x sign where a gradient is near 0
    assert parts.loss() == pytest.approx(whole.loss(), rel=1e-4)


def test_a_rate_far_too_high_diverges(task: Text, tmp_path: Path) -> None:
    found = train(Trial(4, 0, 1, 60), 30.0, task.begin(4, (3,)), Rule(TARGET, 1), tmp_path, lambda _: None)
    assert found.ended == "diverged"


def test_without_a_tokenizer_it_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus.tokens.cache_clear()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(Skip, match="sentencepiece, which is not installed"):
        Text.make(SMALL, 64, 0.1, CPU, 1)


def test_another_model_takes_the_texts_vocabulary() -> None:
    model = msgspec.structs.replace(SMALL, hidden=16, heads=1, head_dim=16, layers=1, ffn=24, vocabulary=99)
    other = Text.make(model, 32, 0.1, CPU, 1)
    assert other.model.vocabulary == VOCABULARY
    assert other.train.shape[1] == 33
    assert other.initial == pytest.approx(UNIFORM, abs=0.1)


def test_a_model_without_room_is_refused_with_one_that_fits() -> None:
    """Before it is built: a rank that is ended for memory takes the launch with it."""
    with pytest.raises(Skip, match=r"model=llama3-405b takes .* TiB .*the largest that fits is model=tiny"):
        require_memory("llama3-405b", models.load("llama3-405b"), 100 * 2**30)
    with pytest.raises(Skip, match="none of the shipped ones fits"):
        require_memory("tiny", models.load("tiny"), 2**20)
    require_memory("tiny", models.load("tiny"), 2**30)
