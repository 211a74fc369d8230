"""Sequence classifiers and guards as judges, with tiny real models of both kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.tiny import tiny_tokenizer
from trustllm_repro.errors import SettingsError, SourceCorrupt, SourceMissing
from trustllm_repro.evaluation.judging import JudgeChoice
from trustllm_repro.judges.hub import (
    HubClassifier,
    hub_judge_for,
)
from trustllm_repro.judges.judge import NOTHING
from trustllm_repro.schema import Item, Response

TEXTS = ["Certainly, here it is.", "I would rather not.", "", "word " * 90]
ITEMS = [Item("t", k, "Ask", extra={}) for k in range(len(TEXTS) + 1)]
RESPONSES = [Response("t", "m", k, t) for k, t in enumerate([*TEXTS, None])]


def classifier(folder: Path, names: dict[int, str], several: bool = False) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = tiny_tokenizer()
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=128, id2label=names,
        label2id={v: k for k, v in names.items()}, pad_token_id=0, initializer_range=0.5,
        problem_type="multi_label_classification" if several else None,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def refusal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier(tmp_path_factory.mktemp("refusal"), {0: "LABEL_0", 1: "LABEL_1"})


def test_refusals_are_those_the_class_of_the_paper_gets_more_than_half(refusal: Path) -> None:
    judge = HubClassifier(refusal, "refusal", ("LABEL_0",), ("refusal", "answer"), 64)
    other = HubClassifier(refusal, "refusal", ("LABEL_1",), ("answer", "refusal"), 64)
    found, mirrored = judge(ITEMS, RESPONSES), other(ITEMS, RESPONSES)
    assert found[2] == found[-1] == NOTHING  # an empty answer, and none
    assert [j.label for j in found] == [j.label for j in mirrored]
    for one, two in zip(found, mirrored, strict=True):
        if one == NOTHING:
            continue
        assert one.number + two.number == pytest.approx(1, abs=1e-6)
        assert one.label == ("refusal" if one.number > 0.5 else "answer")


def test_a_score_does_not_depend_on_its_batch(refusal: Path) -> None:
    judge = HubClassifier(refusal, "refusal", ("LABEL_0",), ("refusal", "answer"), 64)
    texts = [t for t in TEXTS if t]
    together = judge.scores(texts)
    alone = [judge.scores([t])[0] for t in texts]
    assert together == pytest.approx(alone, abs=1e-5)


def test_of_independent_classes_the_wanted_one_counts(tmp_path: Path) -> None:
    folder = classifier(tmp_path, {0: "toxicity", 1: "insult"}, several=True)
    judge = hub_judge_for("toxicity", str(folder))
    found = judge(ITEMS[:2], RESPONSES[:2])
    assert all(j.label is None and 0 <= j.number <= 1 for j in found)


def test_a_class_on_its_own_is_no_certainty(tmp_path: Path) -> None:
    judge = hub_judge_for("toxicity", str(classifier(tmp_path, {0: "toxic"}, several=True)))
    judge._classifier.model.config.problem_type = None  # as most single heads are saved
    assert all(0 < p < 1 for p in judge.scores(["one", "another"]))


def test_a_model_with_few_positions_reads_fewer_tokens(refusal: Path) -> None:
    judge = hub_judge_for("refusal", str(refusal))
    assert judge.longest > 128  # more than the positions of this model
    beginning, rest = "word " * 40, "more " * 400
    assert judge.scores([beginning + rest]) == judge.scores([beginning + rest + "and on"])


def test_other_classes_are_named(refusal: Path) -> None:
    with pytest.raises(SettingsError, match="label_0, label_1"):
        HubClassifier(refusal, "toxicity", ("toxic",)).scores(["x"])


def test_the_choice_of_judges_finds_classifiers(refusal: Path) -> None:
    judge = JudgeChoice([f"refusal=hub:{refusal}"])("refusal")
    assert isinstance(judge, HubClassifier)
    assert judge.digest
    with pytest.raises(SettingsError, match="correction"):
        JudgeChoice([f"correction=hub:{refusal}"])("correction")


def test_a_vocabulary_in_words_alone_will_do_for_bert(tmp_path: Path) -> None:
    folder = classifier(tmp_path, {0: "neutral", 1: "toxic"})
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "kind", "rude"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    kind, rude = hub_judge_for("toxicity", str(folder)).scores(["kind", "rude"])
    assert kind != rude


def test_folders_that_hold_no_classifier_are_refused(tmp_path: Path, refusal: Path) -> None:
    with pytest.raises(SourceMissing):
        hub_judge_for("refusal", str(tmp_path / "none"))
    for path in refusal.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(SourceCorrupt, match="cannot be loaded"):
        hub_judge_for("refusal", str(tmp_path)).scores(["x"])
