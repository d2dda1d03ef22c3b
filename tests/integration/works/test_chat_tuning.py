"""A chat model fine-tuned as a job does it: in a process of its own, shut in, llama.cpp within."""

from __future__ import annotations

import pytest
from tests.support.chat_models import chat_model
from tests.support.training_kit import TrainingKit

from modelry.adapters.processes.works import ProcessWorks
from modelry.datasets.conversations import COLUMN, Message, to_text
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.domain.datasets import Column, ColumnType, Schema
from modelry.domain.errors import InvalidInput
from modelry.manifest.document import from_mapping
from modelry.testing.samples import principal

ME = principal()
ORDER = {"recipe": "chat", "dataset": "colours", "model": "tuned", "base": "small@1"}


@pytest.fixture
def kit(tmp_path):
    kit = TrainingKit(tmp_path)
    kit.works = ProcessWorks()
    rows = [
        to_text([Message("user", f"What colour has {thing}?"), Message("assistant", colour)])
        for thing, colour in (("grass", "green"), ("snow", "white"), ("coal", "black"))
    ]
    schema = Schema((Column(COLUMN, ColumnType.TEXT),))
    kit.datasets.add("colours", schema, {"train": {COLUMN: rows}})
    file = chat_model(tmp_path / "small.gguf")
    kept = kit.catalog.contents.keep_file(DEFAULT_TENANT_ID, file)
    document = from_mapping({"name": "small", "task": "chat", "files": {"model": "small.gguf"}})
    kit.catalog.register(ME, document, {"model": kept.digest})
    return kit


def test_a_version_of_the_base_and_an_adapter_comes_of_it(kit):
    run = kit.job(**ORDER, parameters={"epochs": 1, "rank": 2})
    outcome = kit.handler.run(run)
    assert outcome["version"] == "tuned@1"
    assert outcome["parity"]["is_met"]
    base, version = (kit.catalog.get_version(ME, name, 1) for name in ("small", "tuned"))
    files = {one.role: one for one in version.files}
    assert files["model"] == base.files[0], "the same content, kept once"
    assert files["adapter"].name == "adapter.gguf"
    assert files["adapter"].size_bytes < files["model"].size_bytes
    assert version.runtime == "llamacpp"
    assert set(run.artefacts) == {"version-adapter.gguf"}
    lineage = kit.database.lineages.find(DEFAULT_TENANT_ID, "tuned", 1)
    assert (lineage.recipe, lineage.base) == ("chat", "small@1")
    with pytest.raises(InvalidInput, match="name its version with 'base'"):
        kit.check(**{**ORDER, "base": None})
