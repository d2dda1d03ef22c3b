"""The real Presidio, as one more recogniser; a pipeline of rules stands for a language model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import spacy
from tests.support.server import server

from modelry.adapters.presidio.recogniser import PresidioRecogniser
from modelry.domain.errors import InvalidInput
from modelry.services.privacy.recognisers import BUILT_IN
from modelry.services.privacy.redaction import Redactor

pytestmark = pytest.mark.filterwarnings("default")  # its libraries' own


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pipeline that knows two names, and lies in a folder of its own."""
    made = spacy.blank("en")
    ruler = made.add_pipe("entity_ruler")
    ruler.add_patterns(  # type: ignore[attr-defined] # what a pipe offers is not in its type
        [{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "GPE", "pattern": "Turin"}]
    )
    folder = tmp_path_factory.mktemp("pipelines") / "en_two_names"
    made.to_disk(folder)
    return str(folder)


def test_it_adds_its_kinds_to_ours() -> None:
    redactor = Redactor((*BUILT_IN, PresidioRecogniser("patterns")))
    counts: Counter[str] = Counter()
    text = "Pay 1BoatSLRHtKNngkdXEeobR76b53LETtpyT from card 4111 1111 1111 1111, ask a@example.com"
    assert redactor.text(text, counts) == "Pay <CRYPTO> from card <CREDIT_CARD>, ask <EMAIL>"
    assert counts == {"CRYPTO": 1, "CREDIT_CARD": 1, "EMAIL": 1}


def test_a_pipeline_finds_names(pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load = spacy.load
    monkeypatch.setattr(spacy, "load", lambda name: load(pipeline if name == "en_two" else name))
    redactor = Redactor((*BUILT_IN, PresidioRecogniser("en_two")))
    counts: Counter[str] = Counter()
    told = redactor.text("Ada Lovelace writes from Turin on 3 May.", counts)
    assert told == "<PERSON> writes from <LOCATION> on 3 May."


def test_a_pipeline_that_is_not_there_is_told() -> None:
    with pytest.raises(InvalidInput, match="There is no spaCy pipeline 'en_no_such'"):
        PresidioRecogniser("en_no_such")


def test_a_server_says_so_at_the_start(tmp_path: Path) -> None:
    refused = pytest.raises(AssertionError, match="There is no spaCy pipeline")
    with refused, server(tmp_path / "data", presidio="en_no_such"):
        pass
