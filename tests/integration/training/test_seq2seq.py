"""English and German number words through reading, training, export, parity and serving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from modelry.domain.datasets import Column, ColumnRole, ColumnType, Schema
from modelry.domain.errors import Cancelled, Conflict, InvalidInput
from modelry.manifest.document import from_mapping
from modelry.manifest.inspect import inspect_file
from modelry.runtime_api.engine import LoadSpec, StopSignal
from modelry.runtime_api.text_to_text import TextOptions
from modelry.runtimes.seq2seq import Seq2SeqRuntime
from modelry.tasks.contract import ModelFacts
from modelry.tasks.rules import InstalledTasks
from modelry.testing.datasets import rows_of
from modelry.testing.training import MemoryRun
from modelry.training.recipes.seq2seq import Seq2Seq
from modelry.training.recipes.seq2seq.examples import Pairs, Varied
from modelry.training.recipes.seq2seq.network import Written
from modelry.training.recipes.seq2seq.tokens import SpecialTokens, TokenRows

RECIPE = Seq2Seq()
SCHEMA = Schema(
    (
        Column("en", ColumnType.TEXT, ColumnRole.SOURCE),
        Column("de", ColumnType.TEXT, ColumnRole.TARGET),
    )
)
SMALL = {
    "vocabulary": 330,
    "width": 48,
    "heads": 2,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "inner_width": 96,
    "source_tokens": 32,
    "target_tokens": 32,
    "tokens_per_batch": 512,
    "learning_rate": 5e-3,
    "dropout": 0.0,
    "beams": 3,
    "device": "cpu",
}
ENGLISH = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"  # noqa: E501
ENGLISH_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
GERMAN = "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn"  # noqa: E501
GERMAN_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig"


def english(number):
    if number < 20:
        return ENGLISH.split()[number]
    tens = ENGLISH_TENS.split()[number // 10 - 2]
    return f"{tens}-{ENGLISH.split()[number % 10]}" if number % 10 else tens


def german(number):
    if number < 20:
        return GERMAN.split()[number]
    tens = GERMAN_TENS.split()[number // 10 - 2]
    one = "ein" if number % 10 == 1 else GERMAN.split()[number % 10]
    return f"{one}und{tens}" if number % 10 else tens


LONG = "".join(chr(0x4E00 + 7 * at) for at in range(400))


def columns(numbers, **more):
    return {
        "en": [english(one) for one in numbers] + more.get("en", []),
        "de": [german(one) for one in numbers] + more.get("de", []),
    }


def train(data, folder, *, run=None, **options):
    parameters = RECIPE.parameters(**{**SMALL, **options})
    RECIPE.check(data.description, parameters)
    run = run or MemoryRun(folder, seed=3)
    return RECIPE.train(data, parameters, run), run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    held_out = range(3, 100, 9)
    learnt = [one for one in range(100) if one not in held_out]
    odd = {"en": ["", LONG, "zero"], "de": ["leer", "zu lang", "  "]}
    data = rows_of(SCHEMA, {"train": columns(learnt * 2, **odd), "validation": columns(held_out)})
    options = {"epochs": 32, "source_language": "en", "target_language": "de"}
    return train(data, tmp_path_factory.mktemp("numbers"), **options)


def test_the_network_learns_and_what_is_left_out_is_told(trained):
    version, run = trained
    assert version.metrics["token_accuracy"] > 0.8
    assert version.metrics["chrf"] > 60
    assert version.metrics.keys() >= {"loss", "perplexity", "bleu", "rouge_l", "exact_matches"}
    assert any("178 rows to learn from, 11 to measure on" in line for line in run.lines)
    assert any("3 rows are left out" in line for line in run.lines)
    assert {phase for *_, phase in run.told} >= {"epoch 32 of 32", "exporting"}


def test_the_exported_graphs_give_the_networks_log_probabilities(trained):
    version, _ = trained
    parity = version.parity
    assert parity.is_met
    assert parity.rows == 11
    assert parity.max_abs < 1e-4
    assert parity.metric == "token_accuracy"
    assert parity.trained_metric == parity.exported_metric > 0.8


def test_the_version_is_what_the_catalogue_takes(trained):
    version, _ = trained
    document = from_mapping({"name": "numbers", **version.manifest})
    inspected = {role: inspect_file(path) for role, path in version.files.items()}
    facts = ModelFacts(
        inspected["model"].format,
        inspected["model"].signature,
        inspected["model"].metadata,
        version.files,
        {role: one.format for role, one in inspected.items()},
    )
    rules = InstalledTasks()
    rules.check(document, facts, rules.steps(document, facts))
    assert document.defaults == {"beams": 3, "length_penalty": 1.0}
    assert document.metadata == {"source_language": "en", "target_language": "de"}
    assert rules.recognise(facts)[0].task == "translation"


def test_the_served_version_writes_what_it_learnt(trained):
    version, _ = trained
    spec = LoadSpec("translation", "seq2seq", version.manifest | {"files": {}}, version.files)
    engine = Seq2SeqRuntime().load(spec)
    numbers = [one for one in range(100) if (one - 3) % 9]
    found = engine.write([english(one) for one in numbers], TextOptions(), StopSignal())
    right = [one.text == german(number) for one, number in zip(found, numbers, strict=True)]
    assert np.mean(right) > 0.9
    assert all(one.is_complete and one.score <= 0 for one in found)
    greedy = engine.write([english(42)], TextOptions(beams=1), StopSignal())
    assert greedy[0].text == "zweiundvierzig"
    engine.close()


def test_the_files_tell_nothing_of_where_they_were_made(trained):
    version, _ = trained
    for role in ("encoder", "decoder"):
        content = version.files[role].read_bytes()
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        for word in (b".py", b"site-packages", b"/home", b"/work", b"Traceback"):
            assert word not in content


def test_a_run_goes_on_from_a_checkpoint_to_the_same_weights(tmp_path):
    data = rows_of(SCHEMA, {"all": columns(range(60))})
    options = {
        "epochs": 3,
        "checkpoint_every_s": 0.0,
        "validation_share": 0.2,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "token_dropout": 0.1,
        "joined_share": 0.5,
        "merge_dropout": 0.1,
        "copying": False,
        "cpu_bfloat16": True,
    }
    whole, run = train(data, tmp_path / "whole", **options)
    assert whole.parity.rows == 12
    for stop_after in (1, len(run.checkpoints) // 2):
        folder = tmp_path / f"stopped-{stop_after}"
        stopped = MemoryRun(folder, seed=3, stop_after=stop_after)
        with pytest.raises(Cancelled):
            train(data, folder, run=stopped, **options)
        again = MemoryRun(folder / "again", seed=3, checkpoint=stopped.checkpoint())
        resumed, _ = train(data, folder, run=again, **options)
        assert resumed.weights_digest == whole.weights_digest
        assert resumed.metrics == whole.metrics
        assert _contents(resumed.files) == _contents(whole.files)
    other = MemoryRun(tmp_path / "other", seed=3, checkpoint=run.checkpoints[0][1])
    with pytest.raises(Conflict):
        train(data, tmp_path, run=other, **{**options, "label_smoothing": 0.0})


def test_a_version_is_trained_further(trained, tmp_path):
    version, _ = trained
    data = rows_of(SCHEMA, {"train": columns(range(40)), "validation": columns(range(3, 100, 9))})
    options = {"epochs": 1, "learning_rate": 1e-6}
    run = MemoryRun(tmp_path, seed=3, base=version.files)
    further, _ = train(data, tmp_path, run=run, **options)
    assert further.metrics["loss"] == pytest.approx(version.metrics["loss"], abs=0.01)
    assert further.parity.is_met
    assert further.files["tokenizer"].read_bytes() == version.files["tokenizer"].read_bytes()
    sizes = ({"width": 32}, {"decoder_layers": 2}, {"inner_width": 64}, {"copying": False})
    for changes in sizes:
        run = MemoryRun(tmp_path, seed=3, base=version.files)
        with pytest.raises(InvalidInput, match="trained further"):
            train(data, tmp_path, run=run, **options, **changes)
    deeper = {**version.files, "tokenizer": version.files["model"]}
    for base in ({"model": version.files["model"]}, deeper):
        with pytest.raises(InvalidInput, match="made can be trained further"):
            train(data, tmp_path, run=MemoryRun(tmp_path, base=base), **options)


def test_rows_that_cannot_be_learnt_from_are_told(tmp_path):
    data = rows_of(SCHEMA, {"train": columns([], en=["", LONG], de=["leer", "lang"])})
    with pytest.raises(InvalidInput, match="None of the 2 rows"):
        train(data, tmp_path, validation_share=0.0)


def test_copying_and_writing_a_token_are_one_chance():
    torch.manual_seed(1)
    source, wanted = torch.tensor([[3, 5, 3], [4, 4, 2]]), torch.tensor([[3, 1], [5, 0]])
    shares = torch.softmax(torch.randn(2, 2, 3), -1)
    gates = torch.tensor([[0.5, 0.0], [-1.0, 0.0]])
    written = Written(torch.randn(2, 2, 6), source, shares, gates)
    found = written.log_probabilities()
    assert found.exp().sum(-1).flatten().tolist() == pytest.approx([1] * 4)
    gate = torch.sigmoid(gates[0, 0])
    own = torch.softmax(written.logits[0, 0], -1)[3] * (1 - gate)
    copied = gate * (shares[0, 0, 0] + shares[0, 0, 2])
    assert float(found[0, 0, 3].exp()) == pytest.approx(float(own + copied))
    right = -float(found[0, 0, 3] + found[0, 1, 1] + found[1, 0, 5]) / 3
    assert float(written.loss(wanted, pad=0)) == pytest.approx(right)
    assert float(written.loss(wanted, pad=0, smoothing=0.3)) > right * 0.7


def token_rows(*rows):
    return TokenRows(
        np.array([one for row in rows for one in row], np.int32),
        np.cumsum([0, *map(len, rows)]),
    )


def test_rows_are_joined_where_both_fit():
    sources = [[10 + at] * (1 + at % 4) + [2] for at in range(40)]
    targets = [[60 + at] * (1 + at % 3) + [2] for at in range(40)]
    places = np.arange(1, 40)
    pairs = Pairs(
        token_rows(*sources),
        token_rows(*targets),
        places,
        special=SpecialTokens(0, 1, 2),
        device=torch.device("cpu"),
        varied=Varied(None, 0.7, source_tokens=6, target_tokens=7),
    )
    plan = pairs.plan(24)
    epochs = [plan(torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    assert len(epochs[0]) == len(epochs[1])
    joined = 0
    for batches in epochs:
        seen = []
        for batch in batches:
            pair = pairs.batch(batch)
            assert (pair.given[:, 0] == 1).all()
            for source, wanted in zip(pair.source.tolist(), pair.wanted.tolist(), strict=True):
                texts = [[one for one in row if one] for row in (source, wanted)]
                assert [text.count(2) for text in texts] == [1, 1]
                assert len(texts[0]) <= 6
                assert len(texts[1]) <= 7
                first, *others = dict.fromkeys(one - 10 for one in texts[0][:-1])
                assert list(dict.fromkeys(one - 60 for one in texts[1][:-1])) == [first, *others]
                seen.append(first)
                joined += bool(others)
        assert sorted(seen) == list(range(1, 40))
    assert 10 < joined < 60


def _contents(files: dict[str, Path]):
    return {role: path.read_bytes() for role, path in files.items()}
