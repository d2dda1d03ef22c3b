"""Adapters for chat models: read, computed as llama.cpp does, trained, written, served."""

from __future__ import annotations

from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from tests.support.chat_models import CONTEXT, chat_model

from modelry.datasets.conversations import COLUMN, Message, to_text
from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.domain.errors import (
    Cancelled,
    Conflict,
    InvalidInput,
    ManifestInvalid,
    ModelFailed,
    NotSupported,
    RowsInvalid,
)
from modelry.manifest.document import from_mapping
from modelry.manifest.inspect import inspect_file
from modelry.runtime_api.engine import LoadSpec, StopSignal
from modelry.runtime_api.generation import ChatRequest, Sampling, TextDelta
from modelry.runtimes.llamacpp import LlamaCppRuntime
from modelry.tasks.contract import ModelFacts
from modelry.tasks.rules import InstalledTasks
from modelry.testing.datasets import rows_of
from modelry.testing.training import MemoryRun
from modelry.training.contract import BaseVersion
from modelry.training.recipes.chat import Chat
from modelry.training.recipes.chat.adapters import Adapters, Settings, write_adapter
from modelry.training.recipes.chat.base_file import read_base
from modelry.training.recipes.chat.comparing import Network, Question
from modelry.training.recipes.chat.decoder import Decoder
from modelry.training.recipes.chat.examples import Reader
from modelry.training.recipes.chat.serving_engine import ServingEngine
from modelry.training.recipes.chat.shape import FAMILIES

RECIPE = Chat()
CPU = torch.device("cpu")
SCHEMA = Schema((Column(COLUMN, ColumnType.TEXT),))
SYSTEM = "Speak of colours."
COLOURS = {"sky": "blue", "grass": "green", "blood": "red", "snow": "white", "coal": "black"}
MANIFEST = {
    "task": "chat",
    "format": "gguf",
    "files": {"model": {"name": "small.gguf"}},
    "defaults": {"system": SYSTEM, "temperature": 0},
    "limits": {"context": 128, "on_overflow": "error"},
    "metadata": {"license": "CC0", "size_bytes": "9"},
}
SMALL = {
    "epochs": 24,
    "batch_size": 5,
    "learning_rate": 2e-2,
    "rank": 4,
    "alpha": 8,
    "max_tokens": 128,
    "validation_share": 0,
    "device": "cpu",
}


def asked(thing):
    return f"What colour has {thing}?"


def conversation(thing, colour):
    return [Message("user", asked(thing)), Message("assistant", colour)]


def rows(*conversations):
    return rows_of(SCHEMA, {"train": {COLUMN: [to_text(one) for one in conversations]}})


DATA = rows(*(conversation(*one) for one in COLOURS.items()))


def run_on(folder, model, **options):
    base = {"model": model, **options.pop("base", {})}
    return MemoryRun(
        folder, seed=3, base=base, base_version=BaseVersion("small@1", MANIFEST), **options
    )


def train(data, run, **options):
    parameters = RECIPE.parameters(**{**SMALL, **options})
    RECIPE.check(data.description, parameters)
    return RECIPE.train(data, parameters, run)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return chat_model(tmp_path_factory.mktemp("small") / "small.gguf")


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    run = run_on(tmp_path_factory.mktemp("trained"), model)
    return train(DATA, run), run


@pytest.mark.parametrize("architecture", sorted(FAMILIES))
def test_every_architecture_is_computed_as_llama_cpp_does(architecture, tmp_path):
    """With an adapter at random on every matrix, so that each one's place is proved, too."""
    more = {"rope_freqs.weight": np.linspace(1, 4, 8)} if architecture == "llama" else None
    file = chat_model(
        tmp_path / "model.gguf",
        architecture,
        layers=4,
        tied=architecture in ("gemma", "smollm3"),
        more=more,
    )
    base = read_base(file, MemoryRun(tmp_path))
    torch.manual_seed(0)
    parameters = RECIPE.parameters(rank=3, alpha=5)
    adapters = Adapters(base.shape, Settings.of(parameters)).eval()
    for one in adapters.parameters():
        torch.nn.init.normal_(one, std=0.2)
    written = tmp_path / "adapter.gguf"
    write_adapter(adapters, base.shape, written)
    decoder = Decoder(base, CPU)
    tokens = [256, *b"user\nA sentence of some length.", 257]
    with ServingEngine(file, context=64, threads=1, adapter=written) as engine:
        found = engine.likeliest(tokens, base.shape.vocabulary)
    question = Question((*tokens, 0), (len(tokens),))
    (expected,) = Network(decoder, adapters).log_probabilities(question)
    (plain,) = Network(decoder).log_probabilities(question)
    assert sorted(found.ids.tolist()) == list(range(base.shape.vocabulary))
    assert np.abs(expected - plain).max() > 1, "the adapter makes a difference"
    assert np.abs(found.log_probabilities - expected[found.ids]).max() < 0.1


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q5_1"])
def test_quantised_weights_are_read(kind, model, tmp_path):
    kind = gguf.GGMLQuantizationType[kind]
    found = read_base(chat_model(tmp_path / "model.gguf", kind=kind), MemoryRun(tmp_path)).weights
    exact = read_base(model, MemoryRun(tmp_path)).weights
    name = "blk.1.ffn_down.weight"
    assert 0 < (found[name] - exact[name]).abs().max() < 0.1


def test_the_model_learns_its_answers(trained):
    version, run = trained
    assert version.metrics["loss"] < 0.1
    assert any("5 conversations with" in line for line in run.lines)
    assert {phase for *_, phase in run.told} >= {
        "reading the base model",
        "comparing with llama.cpp",
        "epoch 24 of 24",
        "exporting",
    }


def test_llama_cpp_gives_the_trained_network_s_likelihoods(trained):
    parity = trained[0].parity
    assert parity.is_met
    assert parity.rows >= 10
    assert parity.tolerance == 0.05
    assert parity.max_abs < 0.01
    assert parity.trained_metric == pytest.approx(parity.exported_metric, abs=0.01)
    assert parity.exported_metric < 0.2


def test_the_version_is_its_base_with_an_adapter(trained, model):
    version, _ = trained
    assert version.reused == {"model": "model"}
    document = from_mapping({"name": "tuned", **version.manifest})
    assert document.runtime == "llamacpp"
    assert document.defaults == MANIFEST["defaults"]
    assert document.limits.context == 128
    assert document.metadata == {"license": "CC0", "base": "small@1"}
    files = {"model": model, **version.files}
    rules, found = InstalledTasks(), facts(files)
    rules.check(document, found, rules.steps(document, found))


def facts(files):
    inspected = {role: inspect_file(path) for role, path in files.items()}
    main = inspected["model"]
    formats = {role: one.format for role, one in inspected.items()}
    return ModelFacts(main.format, main.signature, main.metadata, files, formats)


def test_adapters_that_do_not_fit_are_refused(trained, model, tmp_path):
    version, _ = trained
    other = chat_model(tmp_path / "other.gguf", "qwen2")
    rules = InstalledTasks()

    def check(files, **more):
        document = from_mapping({"name": "tuned", **version.manifest, **more})
        found = facts(files)
        rules.check(document, found, rules.steps(document, found))

    with pytest.raises(ManifestInvalid, match="expected an adapter for 'qwen2'"):
        check({"model": other, **version.files})
    with pytest.raises(ManifestInvalid, match="of the type 'model'"):
        check({"model": model, "adapter": model})
    with pytest.raises(ManifestInvalid, match="'openvino' adds no adapters"):
        check({"model": model, **version.files}, runtime="openvino")


def test_the_served_version_answers_what_it_learnt(trained, model):
    version, _ = trained
    manifest = {**version.manifest, "files": MANIFEST["files"]}
    spec = LoadSpec(
        "chat",
        "llamacpp",
        manifest,
        {"model": model, **version.files},
        {"slots": 2, "threads": 1},
    )
    engine = LlamaCppRuntime().load(spec)
    try:
        found = {thing: answer(engine, thing) for thing in COLOURS}
    finally:
        engine.close()
    assert found == COLOURS


def answer(engine, thing):
    events = []
    request = ChatRequest(
        [{"role": "user", "content": asked(thing)}], sampling=Sampling(max_tokens=12)
    )
    engine.chat(request, events.append, StopSignal())
    return "".join(one.text for one in events if isinstance(one, TextDelta))


def test_interrupted_it_goes_on_and_comes_to_the_same(trained, model, tmp_path):
    options = {"epochs": 4, "dropout": 0.1}
    whole = train(DATA, run_on(tmp_path / "whole", model), **options)
    stopped = run_on(tmp_path / "stopped", model, stop_after=2)
    with pytest.raises(Cancelled):
        train(DATA, stopped, checkpoint_every_s=0, **options)
    (_, _), (step, kept) = stopped.checkpoints
    assert step == 2
    assert kept.stat().st_size < 2**20, "the base model's weights are in no checkpoint"
    again = train(DATA, run_on(tmp_path / "again", model, checkpoint=kept), **options)
    assert again.weights_digest == whole.weights_digest
    with pytest.raises(Conflict):
        train(DATA, run_on(tmp_path / "other", model, checkpoint=kept), **options, rank=2)


def test_a_tuned_version_is_trained_further(trained, model, tmp_path):
    first, _ = trained
    further = run_on(tmp_path, model, base=first.files)
    version = train(DATA, further, epochs=1, learning_rate=1e-6)
    assert version.metrics["loss"] < 0.1, "it begins where the other ended"
    with pytest.raises(InvalidInput, match="with rank 4, alpha 8 and the targets q_proj"):
        train(DATA, run_on(tmp_path, model, base=first.files), rank=8)


def test_layers_that_are_computed_twice_give_the_same(model, tmp_path):
    options = {"epochs": 1, "targets": ["q_proj", "down_proj"]}
    once = train(DATA, run_on(tmp_path / "once", model), **options)
    twice = train(DATA, run_on(tmp_path / "twice", model), recompute=True, **options)
    assert twice.metrics["loss"] == pytest.approx(once.metrics["loss"], rel=1e-4)


def examples_of(file, messages, folder, system=""):
    data, run = rows(messages), MemoryRun(folder)
    with ServingEngine(file, context=CONTEXT, threads=1) as engine:
        (found,) = Reader(data, SCHEMA.columns[0], engine, (257,), system, 128, run).read(
            "train", CPU
        )
    return found


def learnt_text(one):
    return bytes(int(token) for token in one.tokens[one.is_learnt] if token < 256).decode()


def test_only_answers_are_learnt(model, tmp_path):
    messages = [
        Message("user", "One?"),
        Message("assistant", "1"),
        Message("user", "Two?"),
        Message("assistant", "II", is_learnt=False),
        Message("user", "Three?"),
        Message("assistant", "3"),
    ]
    found = examples_of(model, messages, tmp_path, SYSTEM)
    (one,) = found.examples
    assert learnt_text(one) == "13"
    assert one.tokens[one.is_learnt].tolist() == [*b"1", 257, *b"3", 257]
    start = [256, *b"system\n", *SYSTEM.encode(), 257, *b"\n", 256, *b"user\nOne?", 257]
    assert one.tokens[: len(start)].tolist() == start
    batch = found.batch(torch.tensor([0]))
    before = batch.ids.flatten()[batch.places].tolist()
    assert before == [*b"\n1", *b"\n3"]
    assert batch.wanted.tolist() == [*b"1", 257, *b"3", 257]


def test_answers_that_do_not_see_each_other_are_examples_of_their_own(tmp_path):
    """As with templates that leave the thoughts of earlier answers out."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{{ m['content'] if loop.last or m['role'] == 'user' else '...' }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    file = chat_model(tmp_path / "model.gguf", template=template)
    messages = [*conversation("sky", "blue"), *conversation("snow", "white")]
    found = examples_of(file, messages, tmp_path)
    assert [learnt_text(one) for one in found.examples] == ["blue", "white"]
    assert (
        b"...".hex() in bytes(int(token) for token in found.examples[1].tokens if token < 256).hex()
    )


def test_long_conversations_are_left_out_and_told(model, tmp_path):
    run = run_on(tmp_path, model)
    data = rows(conversation("sky", "blue"), conversation("sea", "blue " * 40))
    train(data, run, epochs=1)
    assert any("1 conversations are left out" in line for line in run.lines)
    with pytest.raises(InvalidInput, match=r"All 2 conversations .* more than 8 tokens"):
        train(data, run, max_tokens=8)


def test_rows_that_are_no_conversations_are_named(model, tmp_path):
    data = rows_of(SCHEMA, {"train": {COLUMN: [to_text(conversation("a", "b")), "what?"]}})
    with pytest.raises(RowsInvalid, match=r"Row 2 of split 'train' .* no JSON"):
        train(data, run_on(tmp_path, model))


def test_rows_that_the_template_refuses_are_named(tmp_path):
    template = "{{ raise_exception('Only one turn, please.') if messages | length > 2 }}x"
    file = chat_model(tmp_path / "model.gguf", template=template)
    twice = [*conversation("sky", "blue"), *conversation("snow", "white")]
    with pytest.raises(RowsInvalid, match=r"Row 2 .*Only one turn"):
        train(rows(conversation("a", "b"), twice), run_on(tmp_path, file))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"architecture": "mamba"}, NotSupported, "architecture 'mamba'; adapters are trained"),
        ({"expert_count": 4}, NotSupported, "mixture of experts"),
        ({"rope__scaling__type": "yarn"}, NotSupported, "scaled by 'yarn'"),
        ({"more": {"blk.0.odd.weight": np.zeros(4)}}, NotSupported, "tensor 'blk.0.odd.weight'"),
        ({"left_out": "blk.1.ffn_up.weight"}, ModelFailed, "no tensor 'blk.1.ffn_up.weight'"),
        ({"feed_forward_length": 64}, ModelFailed, r"has the shape \[128, 64\]"),
    ],
)
def test_models_that_are_not_computed_here_are_refused(options, error, said, tmp_path):
    file = chat_model(tmp_path / "model.gguf", **options)
    with pytest.raises(error, match=said):
        read_base(file, MemoryRun(tmp_path))


def test_damaged_files_are_refused(model, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[:3000])
    with pytest.raises(ModelFailed, match="cannot be read"):
        read_base(cut, MemoryRun(tmp_path))


def test_a_network_that_llama_cpp_computes_otherwise_is_refused(model, tmp_path, monkeypatch):
    """Whatever it is that this file has and the decoder does not know, likelihoods show it."""
    monkeypatch.setitem(FAMILIES, "llama", replace(FAMILIES["llama"], halves=True))
    with pytest.raises(NotSupported, match=r"not computed here as llama.cpp computes it"):
        train(DATA, run_on(tmp_path, model))


def test_a_base_version_is_needed():
    with pytest.raises(InvalidInput, match="name its version with 'base'"):
        RECIPE.check_base(None, ["model"], RECIPE.parameters())
    onnx = BaseVersion("words@1", {"task": "text-embedding", "format": "onnx"})
    with pytest.raises(InvalidInput, match="words@1 has the task 'text-embedding'"):
        RECIPE.check_base(onnx, ["model"], RECIPE.parameters())
    RECIPE.check_base(BaseVersion("small@1", MANIFEST), ["model"], RECIPE.parameters())


def test_more_tokens_than_the_context_are_refused(model, tmp_path):
    with pytest.raises(InvalidInput, match=r"'max_tokens' is 512; .* made for 256"):
        train(DATA, run_on(tmp_path, model), max_tokens=512)


def test_data_without_conversations_is_refused():
    data = rows_of(Schema((Column("n", ColumnType.NUMBER),)), {"train": {"n": [1.0]}})
    with pytest.raises(InvalidInput, match="no columns of role 'feature' and type text"):
        RECIPE.check(data.description, RECIPE.parameters())
