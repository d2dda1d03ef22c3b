"""TMX, the exchange format of translation memories: read as a stream, without its entities.

Declared entities stand for text within text, or for other files; neither is read. The reference
to TMX's own document type is let through, and not followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from modelry.domain.errors import InvalidInput

MAX_TEXT = 2**20
"""How many characters a text may have."""

MAX_DEPTH = 64
_XML_LANGUAGE = "xml:lang"
_MARKUP = frozenset({"bpt", "ept", "it", "ph", "ut"})
"""Elements within a text that hold the markup of other programs, not words."""


class TmxPairs:
    """Turns a TMX file, fed in pieces, into pairs.

    Args:
        name: of the file.
        source: the language to start from; None for the file's own `srclang`.
        target: the other; None when each unit has just one more.
    """

    def __init__(self, name: str, source: str | None, target: str | None) -> None:
        self._name = name
        self._source = source
        self._target = target
        self._found: list[tuple[str, str, str, str]] = []
        self._path: list[str] = []
        self._texts: dict[str, str] = {}
        self._language = ""
        self._words: list[str] = []
        self._length = 0
        self._unit = 0
        self._unit_line = 0
        self._unit_source = ""
        self._skipped = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._entity
        self._parser.SkippedEntityHandler = self._unknown_entity
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def feed(self, data: bytes) -> Iterator[tuple[str, str, str, str]]:
        """The pairs that `data` completes: place, source, target, and what is wrong with it.

        Raises:
            InvalidInput: it is no TMX, declares entities, or does not say its languages.
        """
        self._parse(data, is_final=False)
        found, self._found = self._found, []
        yield from found

    def close(self) -> Iterator[tuple[str, str, str, str]]:
        """Nothing comes any more; see `feed`."""
        self._parse(b"", is_final=True)
        yield from self._found

    def _parse(self, data: bytes, *, is_final: bool) -> None:
        try:
            self._parser.Parse(data, is_final)
        except expat.ExpatError as error:
            raise self._refused(
                f"it is no XML in line {error.lineno}: {expat.ErrorString(error.code)}"
            ) from None
        except (LookupError, ValueError):
            raise self._refused("its encoding is not known; save it as UTF-8") from None

    def _doctype(self, _name: str, _system: Any, _public: Any, has_internal: bool) -> None:  # noqa: FBT001 - expat's
        if has_internal:
            raise self._refused("it has a document type of its own; remove the DOCTYPE")

    def _entity(self, *_: Any) -> None:
        raise self._refused("it declares entities; remove the DOCTYPE")

    def _unknown_entity(self, entity: str, _is_parameter: bool) -> None:  # noqa: FBT001 - expat's
        raise self._refused(
            f"line {self._parser.CurrentLineNumber} has the entity '&{entity[:40]};', which is not "
            "known; write the letter itself"
        )

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        if not self._path and element != "tmx":
            raise self._refused(f"it begins with <{element[:40]}>; expected <tmx>")
        if len(self._path) >= MAX_DEPTH:
            raise self._refused(f"its elements lie more than {MAX_DEPTH} deep in each other")
        self._path.append(element)
        if element == "header" and self._source is None:
            said = attributes.get("srclang", "")
            self._source = said if said and said != "*all*" else None
        elif element == "tu":
            self._unit += 1
            self._unit_line = self._parser.CurrentLineNumber
            self._unit_source = attributes.get("srclang", "")
            self._texts = {}
        elif element == "tuv":
            self._language = attributes.get(_XML_LANGUAGE) or attributes.get("lang", "")
        elif element == "seg":
            self._words, self._length, self._skipped = [], 0, 0
        elif element in _MARKUP:
            self._skipped += 1

    def _end(self, element: str) -> None:
        self._path.pop()
        if element == "seg":
            self._texts[self._language] = " ".join("".join(self._words).split())
        elif element == "tu":
            place = f"unit {self._unit} in line {self._unit_line}"
            self._found.append((place, *self._pair()))
        elif element in _MARKUP:
            self._skipped -= 1

    def _text(self, words: str) -> None:
        if "seg" in self._path and not self._skipped:
            self._length += len(words)
            if self._length > MAX_TEXT:
                raise self._refused(
                    f"a text in line {self._parser.CurrentLineNumber} is longer than {MAX_TEXT} "
                    "characters"
                )
            self._words.append(words)

    def _pair(self) -> tuple[str, str, str]:
        """The texts of a unit, and why they make no pair."""
        known = ", ".join(sorted(self._texts)) or "none"
        wanted = self._unit_source if self._unit_source not in ("", "*all*") else self._source
        if wanted is None:
            raise self._refused(
                f"it does not say the language to start from; give source_language (unit "
                f"{self._unit} has {known[:100]})"
            )
        source = _match(wanted, self._texts)
        if source is None:
            return "", "", f"it has no text in '{wanted[:40]}', but in {known[:100]}"
        others = {one: text for one, text in self._texts.items() if one != source}
        if self._target is not None:
            target = _match(self._target, others)
        elif len(others) > 1:
            raise self._refused(
                f"unit {self._unit} has texts in several other languages ({known[:100]}); give "
                "target_language"
            )
        else:
            target = next(iter(others), None)
        if target is None:
            return "", "", f"it has no text in '{(self._target or 'another language')[:40]}'"
        return self._texts[source], others[target], ""

    def _refused(self, reason: str) -> InvalidInput:
        return InvalidInput(f"The file '{self._name}' cannot be read: {reason}.", param=self._name)


def _match(language: str, texts: dict[str, str]) -> str | None:
    """The language among `texts` that is `language`: `en` is found as `en-GB` too."""
    wanted = language.lower().replace("_", "-")
    plain = {one.lower().replace("_", "-"): one for one in texts}
    if wanted in plain:
        return plain[wanted]
    alike = [
        told
        for one, told in plain.items()
        if one.split("-")[0] == wanted or wanted.split("-")[0] == one
    ]
    return alike[0] if len(alike) == 1 else None
