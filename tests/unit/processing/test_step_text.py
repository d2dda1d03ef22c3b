import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.processing import ANY, graph_of
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from modelry.domain.errors import ContextLengthExceeded, InvalidInput, ManifestInvalid, ModelFailed
from modelry.domain.signature import Datatype
from modelry.processing.steps.vectors import l2_normalize, pool
from modelry.processing.values import Context

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "##a", "##b"]
NAMES = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = (("last_hidden_state", Datatype.FP32, (ANY, ANY, 2)),)
CLS, SEP = 2, 3


def tokenizer(*, special: bool = True) -> Tokenizer:
    made = Tokenizer(
        models.WordPiece({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
        )
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tokenizers")


@pytest.fixture(scope="module")
def build(folder):
    def make(step=None, *, names=NAMES, shape=(ANY, ANY), datatype=Datatype.INT64, made=None):
        path = folder / f"{len(list(folder.iterdir()))}"
        (made or tokenizer()).save(str(path))
        return graph_of(
            pre=[{"tokenize": step}],
            inputs=[(name, datatype, shape) for name in names],
            outputs=OUTPUT,
            files={"tokenizer": path},
        )

    return make


@pytest.fixture(scope="module")
def usual(build):
    return build({"max_length": 16})


texts = st.text("abcdefgh AB", max_size=24)


@settings(deadline=None)
@given(st.lists(texts | st.tuples(texts, texts), min_size=1, max_size=4))
def test_tensors_are_those_of_the_tokenizers_library(usual, wanted):
    items = [
        {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}
        for text in wanted
    ]
    reference = tokenizer()
    reference.enable_padding(pad_id=0, pad_token="[PAD]")
    expected = reference.encode_batch(wanted)
    counts = [sum(encoding.attention_mask) for encoding in expected]
    if max(counts) > 16:
        with pytest.raises(ContextLengthExceeded, match=f"has {next(c for c in counts if c > 16)}"):
            usual.before(items)
        return
    inputs, context = usual.before(items)
    assert inputs["input_ids"].tolist() == [encoding.ids for encoding in expected]
    assert inputs["attention_mask"].tolist() == [encoding.attention_mask for encoding in expected]
    assert inputs["token_type_ids"].tolist() == [encoding.type_ids for encoding in expected]
    assert context.token_counts == tuple(counts)
    assert context.mask.tolist() == inputs["attention_mask"].astype(bool).tolist()


@pytest.fixture(scope="module")
def cutting(build):
    return build({"max_length": 6, "on_overflow": "truncate"})


@settings(deadline=None)
@given(text=st.text("abc ", max_size=30))
def test_truncation_is_that_of_the_library(cutting, text):
    reference = tokenizer()
    reference.enable_truncation(6)
    inputs, _ = cutting.before([{"text": text}])
    assert inputs["input_ids"].tolist() == [reference.encode(text).ids]


def test_token_ids_get_the_special_tokens_that_they_lack(usual):
    inputs, context = usual.before(
        [{"tokens": [4, 5]}, {"tokens": [CLS, 4, 5, SEP]}, {"tokens": []}, {"text": "a b c"}]
    )
    assert inputs["input_ids"].tolist() == [
        [CLS, 4, 5, SEP, 0],
        [CLS, 4, 5, SEP, 0],
        [CLS, SEP, 0, 0, 0],
        [CLS, 4, 5, 6, SEP],
    ]
    assert context.token_counts == (4, 4, 2, 5)


def test_token_ids_are_cut_like_text(cutting):
    inputs, _ = cutting.before([{"tokens": [4] * 50}, {"tokens": [CLS, *[5] * 50, SEP]}])
    assert inputs["input_ids"].tolist() == [[CLS, 4, 4, 4, 4, SEP], [CLS, 5, 5, 5, 5, SEP]]


def test_rows_are_padded_to_a_multiple_within_the_maximum(build):
    graph = build({"max_length": 10, "pad_multiple": 8})
    assert graph.before([{"text": "a"}])[0]["input_ids"].shape == (1, 8)
    assert graph.before([{"text": "a " * 8}])[0]["input_ids"].shape == (1, 10)


def test_a_fixed_length_in_the_model_is_kept(build):
    graph = build(shape=(ANY, 7))
    assert graph.before([{"text": "a"}])[0]["input_ids"].shape == (1, 7)
    with pytest.raises(ContextLengthExceeded, match=r"has 8 tokens; .* at most 7"):
        graph.before([{"text": "a b c d e f"}])
    with pytest.raises(ManifestInvalid, match="fixes 7 tokens"):
        build({"max_length": 8}, shape=(ANY, 7))


def test_padding_goes_where_the_tokenizer_says(build):
    made = tokenizer()
    made.enable_padding(direction="left", pad_id=1, pad_type_id=0, pad_token="[UNK]")
    made.enable_truncation(9)
    graph = build(made=made, names=("input_ids", "attention_mask", "position_ids"))
    inputs, context = graph.before([{"text": "a"}, {"text": "a b"}])
    assert inputs["input_ids"].tolist() == [[1, CLS, 4, SEP], [CLS, 4, 5, SEP]]
    assert inputs["attention_mask"].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]
    assert inputs["position_ids"].tolist() == [[0, 0, 1, 2], [0, 1, 2, 3]]
    vectors = np.arange(16, dtype="f4").reshape(2, 4, 2)
    assert pool(vectors, by="cls", context=context).tolist() == [[2, 3], [8, 9]]
    with pytest.raises(ContextLengthExceeded, match="at most 9"):
        graph.before([{"text": "a " * 10}])


def test_inputs_are_made_in_the_models_types(build):
    graph = build(names=("input_ids",), datatype=Datatype.INT32)
    inputs, _ = graph.before([{"text": "a"}])
    assert list(inputs) == ["input_ids"]
    assert inputs["input_ids"].dtype == np.int32


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"names": ("input_ids", "pixel_values")}, "'pixel_values'"),
        ({"names": ("attention_mask", "token_type_ids")}, "no input for token ids"),
        ({"shape": (ANY, ANY, 4)}, "[n, tokens]"),
        ({"datatype": Datatype.BYTES}, "BYTES"),
        ({"step": {"max_length": 3, "on_overflow": "truncate"}}, "at least 4"),
    ],
)
def test_models_that_take_no_tokens_are_refused(build, arguments, words):
    with pytest.raises(ManifestInvalid) as caught:
        build(**arguments)
    assert words in caught.value.message
    assert caught.value.param == "pre[0]"


@pytest.mark.parametrize(
    ("item", "error", "words"),
    [
        ({}, InvalidInput, "'text' is None"),
        ({"text": 5}, InvalidInput, "'text' is 5"),
        ({"text": b"a"}, InvalidInput, "1 bytes"),
        ({"text": ["a"]}, InvalidInput, "expected text"),
        ({"text": "a", "text_pair": 5}, InvalidInput, "'text_pair' is 5"),
        ({"text": "a\ud800"}, InvalidInput, "surrogate"),
        ({"text": "a", "tokens": [4]}, InvalidInput, "give one"),
        ({"tokens": "abc"}, InvalidInput, "token ids"),
        ({"tokens": [4, True]}, InvalidInput, "token ids"),
        ({"tokens": [4, 1.0]}, InvalidInput, "token ids"),
        ({"tokens": [-1]}, InvalidInput, "token ids"),
        ({"tokens": [len(WORDS)]}, InvalidInput, f"from 0 to {len(WORDS) - 1}"),
        ({"tokens": [10**30]}, InvalidInput, "token ids"),
        ({"tokens": [4] * 5000}, ContextLengthExceeded, "has 5002 tokens"),
        ({"text": "a " * 5000}, ContextLengthExceeded, "has 5002 tokens"),
        ({"text": "a" * 500_000}, ContextLengthExceeded, "500000 characters"),
        ({"title": "a"}, InvalidInput, "unknown field 'title'"),
    ],
)
def test_items_that_cannot_be_tokenised_are_named(usual, item, error, words):
    with pytest.raises(error) as caught:
        usual.before([{"text": "a"}, item])
    assert type(caught.value) is error
    assert caught.value.message.startswith("Item 2 of 2: ")
    assert words in caught.value.message
    assert len(caught.value.message) < 400


def test_a_giant_word_does_not_take_long(usual):
    inputs, _ = usual.before([{"text": "a" * 300_000}])
    assert inputs["input_ids"].tolist() == [[CLS, 1, SEP]]


def test_text_without_any_token_is_refused(build):
    graph = build(made=tokenizer(special=False))
    assert graph.before([{"text": "a"}])[0]["input_ids"].tolist() == [[4]]
    with pytest.raises(InvalidInput, match="is empty"):
        graph.before([{"text": "  "}])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff\xfe",
        b'{"version": "1.0", "model": {"type": "Nothing"}}',
        json.dumps({"version": "1.0", "model": {"type": "WordPiece", "vocab": []}}).encode(),
        b'{"a":' * 200_000,
    ],
)
def test_files_that_are_no_tokenizer_are_refused(tmp_path, content):
    path = tmp_path / "hidden-place"
    path.write_bytes(content)
    with pytest.raises(ManifestInvalid) as caught:
        graph_of(
            pre=["tokenize"],
            inputs=[("input_ids", Datatype.INT64, (ANY, ANY))],
            files={"tokenizer": path},
        )
    assert "files.tokenizer" in caught.value.message
    assert "hidden-place" not in caught.value.message
    assert len(caught.value.message) < 500


def test_the_tokenizer_is_part_of_the_digest(build):
    other = tokenizer()
    other.add_tokens(["xyz"])
    assert build().digest == build().digest
    assert build(made=other).digest != build().digest


def test_pooling_leaves_padding_out():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 5, 4)).astype("f4")
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)
    context = Context(3, mask=mask)
    for at, length in enumerate([3, 5, 1]):
        own = vectors[at, :length]
        np.testing.assert_allclose(
            pool(vectors, by="mean", context=context)[at], own.mean(axis=0), rtol=1e-5
        )
        np.testing.assert_array_equal(pool(vectors, by="cls", context=context)[at], own[0])
        np.testing.assert_array_equal(pool(vectors, by="last", context=context)[at], own[-1])
    without = pool(vectors, by="mean", context=Context(3))
    np.testing.assert_allclose(without, vectors.mean(axis=1), rtol=1e-5)


def test_pooling_something_else_is_refused():
    with pytest.raises(ModelFailed, match="one vector for each"):
        pool(np.zeros((1, 3, 2)), by="mean", context=Context(1, mask=np.ones((1, 4), bool)))


def test_vectors_get_length_one():
    vectors = np.array([[3, 4], [0, 0], [1e-30, 0], [3e30, 4e30]], "f4")
    unit = l2_normalize(vectors)
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0], [1, 0], [0.6, 0.8]], atol=1e-5)
    assert unit.dtype == np.float32
    with pytest.raises(ModelFailed, match="NaN"):
        l2_normalize(np.array([[np.nan, 1]], "f4"))
