"""Text embedding and text classification, from items to results, by real engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.onnx_models import identity, tiny_cnn
from tests.support.task_models import (
    WORDS,
    ServedVersion,
    facts_of,
    manifest,
    token_vectors,
    tokenizer_file,
    word_counter,
    written,
)

from modelry.domain.errors import (
    ContextLengthExceeded,
    InvalidInput,
    ManifestInvalid,
    ModelFailed,
)
from modelry.tasks.rules import InstalledTasks

RULES = InstalledTasks()


@pytest.fixture
def embedder(tmp_path: Path) -> ServedVersion:
    files = written(tmp_path, model=token_vectors(), tokenizer=tokenizer_file())
    return ServedVersion("text-embedding", files)


@pytest.fixture
def classifier(tmp_path: Path) -> ServedVersion:
    files = written(tmp_path, model=word_counter(), tokenizer=tokenizer_file())
    return ServedVersion("text-classification", files, labels=["praise", "blame"])


# ---- embedding --------------------------------------------------------------------------------


def test_an_embedding_is_the_mean_of_its_tokens_at_length_one(embedder: ServedVersion) -> None:
    assert [step["step"] for step in embedder.steps.pre] == ["tokenize"]
    assert [step["step"] for step in embedder.steps.post] == ["pool", "l2_normalize"]
    answer = embedder.predict([{"text": "cat"}, {"text": "good dog cat"}])
    vectors = answer.arrays["embedding"]
    table = np.random.default_rng(1).normal(size=(len(WORDS), 64)).astype("f4")
    for vector, words in zip(
        vectors, (["[CLS]", "cat", "[SEP]"], ["[CLS]", "good", "dog", "cat", "[SEP]"]), strict=True
    ):
        mean = table[[WORDS.index(word) for word in words]].mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert (vectors.dtype, vectors.shape) == (np.dtype("float32"), (2, 64))
    assert answer.items == []
    assert answer.usage == {"input_tokens": 8}


def test_token_ids_stand_for_their_text(embedder: ServedVersion) -> None:
    ids = [WORDS.index("good"), WORDS.index("dog")]
    answer = embedder.predict([{"tokens": ids}, {"text": "good dog"}])
    first, second = answer.arrays["embedding"]
    np.testing.assert_array_equal(first, second)


def test_parts_give_what_the_whole_gives(embedder: ServedVersion) -> None:
    items = [{"text": "cat " * count} for count in range(1, 8)]
    whole, parts = embedder.predict(items), embedder.predict(items, most=3)
    np.testing.assert_allclose(parts.arrays["embedding"], whole.arrays["embedding"], atol=1e-6)
    assert parts.usage == whole.usage


def test_a_vector_of_the_whole_text_is_not_pooled(tmp_path: Path) -> None:
    model = word_counter(128)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "sentence_embedding"
    files = written(tmp_path, model=model, tokenizer=tokenizer_file())
    served = ServedVersion("text-embedding", files)
    assert [step["step"] for step in served.steps.post] == ["l2_normalize"]
    (vector,) = served.predict([{"text": "bad bad"}]).arrays["embedding"]
    assert vector[:3].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("item", "error", "word"),
    [
        ({"text": 5}, InvalidInput, "'text' is 5"),
        ({"text": None}, InvalidInput, "'text' is None"),
        ({"text": ["a"]}, InvalidInput, "'text' is ['a']"),
        ({"text": "\ud800"}, InvalidInput, "surrogate"),
        ({"text": "cat " * 600}, ContextLengthExceeded, "602 tokens"),
        ({"text": "c" * 500_000}, ContextLengthExceeded, "500000 characters"),
        ({"tokens": [10**30]}, InvalidInput, "0 to 7"),
        ({"tokens": [-1]}, InvalidInput, "0 to 7"),
        ({"tokens": "12"}, InvalidInput, "token ids"),
        ({"tokens": [True]}, InvalidInput, "token ids"),
        ({"text": "a", "tokens": [4]}, InvalidInput, "both"),
        ({"txt": "a"}, InvalidInput, "'txt'"),
        ("cat", InvalidInput, "expected an object"),
        (None, InvalidInput, "expected an object"),
    ],
)
def test_a_wrong_item_is_named(
    embedder: ServedVersion, item: Any, error: type[Exception], word: str
) -> None:
    with pytest.raises(error) as told:
        embedder.predict([{"text": "cat"}, item, {"text": "dog"}])
    assert "Item 2 of 3" in str(told.value)
    assert word in str(told.value)


@pytest.mark.parametrize("items", [[], {}, "text", 5])
def test_what_is_no_list_of_items(embedder: ServedVersion, items: Any) -> None:
    with pytest.raises(InvalidInput, match="expected a list"):
        embedder.predict(items)


def test_options_that_the_task_has_not(embedder: ServedVersion) -> None:
    with pytest.raises(InvalidInput, match="no options") as told:
        embedder.predict([{"text": "cat"}], {"top_k": 3})
    assert told.value.param == "top_k"


def test_vectors_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    model = token_vectors()
    table = model.graph.initializer[0]
    broken = np.frombuffer(table.raw_data, "f4").reshape(len(WORDS), -1).copy()
    broken[WORDS.index("dog")] = np.nan
    table.raw_data = broken.tobytes()
    files = written(tmp_path, model=model, tokenizer=tokenizer_file())
    for post in (None, ["pool"]):
        more = {} if post is None else {"post": post}
        served = ServedVersion("text-embedding", files, **more)
        assert served.predict([{"text": "cat"}]).arrays["embedding"].shape == (1, 64)
        with pytest.raises(ModelFailed, match=r"(?i)item 2"):
            served.predict([{"text": "cat"}, {"text": "dog"}])


def test_the_manifest_bounds_the_tokens(tmp_path: Path) -> None:
    files = written(tmp_path, model=token_vectors(), tokenizer=tokenizer_file())
    served = ServedVersion("text-embedding", files, limits={"context": 4})
    served.predict([{"text": "cat dog"}])
    with pytest.raises(ContextLengthExceeded, match="at most 4"):
        served.predict([{"text": "cat dog cat"}])


# ---- classification ---------------------------------------------------------------------------


def test_classes_are_ranked_with_their_names(classifier: ServedVersion) -> None:
    answer = classifier.predict([{"text": "good good bad"}, {"text": "bad"}])
    first, second = (item["labels"] for item in answer.items)
    assert [entry["label"] for entry in first] == ["praise", "blame"]
    assert [entry["index"] for entry in second] == [1, 0]
    assert first[0]["score"] == pytest.approx(np.e / (np.e + 1))
    assert sum(entry["score"] for entry in first) == pytest.approx(1)
    assert answer.usage == {"input_tokens": 8}


def test_a_pair_is_read_together(classifier: ServedVersion) -> None:
    (item,) = classifier.predict([{"text": "bad", "text_pair": "good good"}]).items
    assert item["labels"][0]["label"] == "praise"


def test_options_narrow_the_answer(classifier: ServedVersion) -> None:
    (item,) = classifier.predict([{"text": "good"}], {"top_k": 1}).items
    assert len(item["labels"]) == 1
    (item,) = classifier.predict([{"text": "good"}], {"min_score": 0.99}).items
    assert item["labels"] == []


@pytest.mark.parametrize(
    "options",
    [{"top_k": 0}, {"top_k": 1e400}, {"top_k": "5"}, {"top_k": 10**40}, {"top_k": True}, {"k": 1}],
)
def test_wrong_options_are_named(classifier: ServedVersion, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as told:
        classifier.predict([{"text": "good"}], options)
    assert told.value.param == next(iter(options))


@pytest.mark.parametrize(
    ("model", "steps", "score"),
    [
        (word_counter(2), ["softmax", "top_k"], 1 / (1 + np.exp(-1))),
        (word_counter(2, ends_in="Softmax"), ["top_k"], 1 / (1 + np.exp(-1))),
        (word_counter(2, ends_in="Sigmoid"), ["top_k"], 1 / (1 + np.exp(-1))),
        (word_counter(1), ["sigmoid", "top_k"], 1 / (1 + np.exp(-1))),
        (word_counter(1, ends_in="Sigmoid"), ["top_k"], 1 / (1 + np.exp(-1))),
    ],
    ids=["logits", "softmax", "sigmoid", "one logit", "one probability"],
)
def test_scores_become_probabilities_once(
    tmp_path: Path, model: Any, steps: list[str], score: float
) -> None:
    files = written(tmp_path, model=model, tokenizer=tokenizer_file())
    served = ServedVersion("text-classification", files)
    assert [step["step"] for step in served.steps.post] == steps
    (item,) = served.predict([{"text": "good"}]).items
    assert item["labels"][0] == {"label": "0", "index": 0, "score": pytest.approx(score)}


# ---- which model is for which task ------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "task"),
    [(token_vectors(), "text-embedding"), (word_counter(), "text-classification")],
    ids=["vectors", "scores"],
)
def test_text_models_are_recognised_by_their_tensors(tmp_path: Path, model: Any, task: str) -> None:
    files = written(tmp_path, model=model, tokenizer=tokenizer_file())
    best = RULES.recognise(facts_of(files))[0]
    assert best.task == task
    assert "input_ids" in " ".join(best.notes)


def test_without_a_tokenizer_a_text_model_is_served_as_tensors_and_told_why(
    tmp_path: Path,
) -> None:
    files = written(tmp_path, model=token_vectors())
    best = RULES.recognise(facts_of(files))[0]
    assert best.task == "tensor"
    assert "files.tokenizer" in " ".join(best.notes)
    with pytest.raises(ManifestInvalid, match=r"files\.tokenizer"):
        RULES.steps(manifest("text-embedding", files), facts_of(files))


@pytest.mark.parametrize("task", ["text-embedding", "text-classification"])
@pytest.mark.parametrize("model", [tiny_cnn(), identity(1, ("batch", 3, 4))])
def test_models_that_take_no_tokens_are_refused(tmp_path: Path, task: str, model: Any) -> None:
    files = written(tmp_path, model=model, tokenizer=tokenizer_file())
    with pytest.raises(ManifestInvalid, match="token ids"):
        RULES.steps(manifest(task, files), facts_of(files))


def test_steps_that_end_in_something_else_are_refused(tmp_path: Path) -> None:
    files = written(tmp_path, model=word_counter(), tokenizer=tokenizer_file())
    with pytest.raises(ManifestInvalid, match="answers with ranked classes") as told:
        ServedVersion("text-classification", files, post=["softmax"])
    assert told.value.param == "post"


def test_labels_that_do_not_fit_the_classes_are_refused(tmp_path: Path) -> None:
    files = written(tmp_path, model=word_counter(), tokenizer=tokenizer_file(), labels=b"a\nb\nc\n")
    with pytest.raises(ManifestInvalid, match="3 labels"):
        ServedVersion("text-classification", files)


def test_vectors_of_tokens_are_no_answer(tmp_path: Path) -> None:
    files = written(tmp_path, model=token_vectors(), tokenizer=tokenizer_file())
    with pytest.raises(ManifestInvalid, match="one vector per text") as told:
        ServedVersion("text-embedding", files, post=["l2_normalize"])
    assert told.value.param == "post"


# ---- sections of the manifest that tasks read, or refuse ---------------------------------------


def test_defaults_stand_for_options_that_a_request_leaves_out(tmp_path: Path) -> None:
    files = written(tmp_path, model=word_counter(), tokenizer=tokenizer_file())
    version = ServedVersion("text-classification", files, defaults={"top_k": 1})
    item = {"text": "good"}
    for options, count in (({}, 1), ({"top_k": None}, 1), ({"top_k": 2}, 2)):
        assert len(version.predict([item], options).items[0]["labels"]) == count


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"defaults": {"temperature": 1}}, "defaults.temperature"),
        ({"defaults": {"top_k": 0}}, "defaults.top_k"),
        ({"defaults": {"min_score": "high"}}, "defaults.min_score"),
    ],
)
def test_defaults_that_no_request_could_give_are_refused(
    tmp_path: Path, more: dict[str, Any], param: str
) -> None:
    files = written(tmp_path, model=word_counter(), tokenizer=tokenizer_file())
    with pytest.raises(ManifestInvalid) as told:
        ServedVersion("text-classification", files, **more)
    assert told.value.param == param


def test_the_bound_of_tokens_holds_for_declared_steps_too(tmp_path: Path) -> None:
    files = written(tmp_path, model=token_vectors(), tokenizer=tokenizer_file())
    for step, most in (("tokenize", 4), ({"tokenize": {"max_length": 3}}, 3)):
        served = ServedVersion("text-embedding", files, pre=[step], limits={"context": 4})
        with pytest.raises(ContextLengthExceeded, match=f"at most {most}"):
            served.predict([{"text": "cat dog cat"}])
