"""Asks Presidio what is personal in a text."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.services.privacy.ports import Span

PATTERNS_ONLY = "patterns"
"""Stands for a pipeline that only parts words: Presidio's own patterns, no names."""
LEAST_SCORE = 0.5
_OURS = frozenset({"EmailRecognizer", "UrlRecognizer", "DateRecognizer"})
"""Recognisers that are left out: we find addresses ourselves, and a date alone tells nobody's age;
two of them would fetch a list of domains from the network."""
_NOT_PERSONAL = frozenset({"DATE_TIME", "NRP"})


class PresidioRecogniser:
    """Implements `modelry.services.privacy.ports.Recogniser`; spans keep Presidio's own kinds.

    How long it takes is up to Presidio's patterns and the pipeline: kept requests are bounded in
    size and worked on off the requests' way.

    Args:
        pipeline: an installed spaCy pipeline such as `en_core_web_sm`, whose first two letters
            are its language, or `PATTERNS_ONLY`.

    Raises:
        NotSupported: Presidio is not installed.
        InvalidInput: there is no such pipeline.
    """

    kind = "PRESIDIO"

    def __init__(self, pipeline: str) -> None:
        self._language = "en" if pipeline == PATTERNS_ONLY else pipeline[:2]
        self._engine = _engine(pipeline, self._language)
        self._turn = threading.Lock()

    def find(self, text: str) -> Iterable[Span]:
        """See `Recogniser.find`."""
        with self._turn:  # spaCy's pipelines are not made for several threads
            found = self._engine.analyze(text, language=self._language, score_threshold=LEAST_SCORE)
        return [
            Span(one.start, one.end, one.entity_type)
            for one in found
            if one.entity_type not in _NOT_PERSONAL
        ]


def _engine(pipeline: str, language: str) -> Any:
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError:
        raise NotSupported(
            "Presidio is not installed; it is an extra: pip install 'modelry[presidio]'.",
            param="presidio",
        ) from None
    try:
        loaded = spacy.blank("en") if pipeline == PATTERNS_ONLY else spacy.load(pipeline)
    except OSError:
        raise InvalidInput(
            f"There is no spaCy pipeline '{pipeline[:80]}'; install it (python -m spacy download "
            f"{pipeline[:80]}), or name '{PATTERNS_ONLY}' for Presidio's patterns alone.",
            param="presidio",
        ) from None

    class Loaded(SpacyNlpEngine):
        """An engine with a pipeline that is there already: it fetches nothing."""

        def __init__(self) -> None:
            super().__init__(models=[{"lang_code": language, "model_name": pipeline}])
            self.nlp = {language: loaded}  # type: ignore[assignment] # its class says None only

        def load(self) -> None:
            """Nothing is left to load."""

    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language])
    for name in _OURS:
        registry.remove_recognizer(name)
    return AnalyzerEngine(registry=registry, nlp_engine=Loaded(), supported_languages=[language])
