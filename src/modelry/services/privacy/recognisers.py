"""What personal data and secrets look like in text.

Each pattern is bounded: it looks at no more than a fixed number of characters from any place
where it may begin, and may begin only where the characters before it end a word. So the time
grows with the length of the text and not faster, whatever the text is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modelry.services.privacy.checksums import IBAN_CHARS, is_german_tax_id, is_iban, is_luhn
from modelry.services.privacy.ports import Recogniser, Span

Trim = Callable[[str], int]
"""How many of a match's characters are the thing; 0 for none."""


@dataclass(frozen=True, slots=True)
class PatternRecogniser:
    """Implements `Recogniser` by a regular expression.

    Args:
        kind: what it finds.
        pattern: how that looks; what is found is its group `found`, if it has one.
        trim: checks a match.
    """

    kind: str
    pattern: re.Pattern[str]
    trim: Trim = len

    def find(self, text: str) -> Iterator[Span]:
        """See `Recogniser.find`."""
        group = "found" if "found" in self.pattern.groupindex else 0
        at = 0
        while match := self.pattern.search(text, at):
            start = match.start(group)
            kept = self.trim(match[group])
            if kept:
                yield Span(start, start + kept, self.kind)
            at = start + kept if kept else match.start() + 1


class PrivateKeyRecogniser:
    """Implements `Recogniser` for PEM blocks; one without an end reaches to the text's end."""

    kind = "PRIVATE_KEY"
    _begin = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
    _end = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")

    def find(self, text: str) -> Iterator[Span]:
        """See `Recogniser.find`."""
        at = 0
        while begin := self._begin.search(text, at):
            end = self._end.search(text, begin.end())
            at = end.end() if end else len(text)
            yield Span(begin.start(), at, self.kind)


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isdecimal())


def _card(text: str) -> int:
    return len(text) if is_luhn(_digits(text)) else 0


def _iban(text: str) -> int:
    wanted = IBAN_CHARS.get(text[:2].upper(), 0)
    seen = 0
    for end, char in enumerate(text, 1):
        seen += char.isalnum()
        if seen == wanted:
            compact = "".join(one for one in text[:end] if one.isalnum())
            return end if is_iban(compact) else 0
    return 0


def _address(text: str) -> int:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return 0
    return len(text)


def _long_address(text: str) -> int:
    kept = text.rstrip(".:") if not text.endswith("::") else text
    has_digit = any(char.isdecimal() for char in kept)  # a::b is code
    return _address(kept) if has_digit and kept.count(":") >= 2 else 0


def _tax_id(text: str) -> int:
    return len(text) if is_german_tax_id(_digits(text)) else 0


def _phone(text: str) -> int:
    return len(text) if 7 <= len(_digits(text)) <= 15 else 0


_LABEL = (
    r"(?i)(?<![a-z0-9])(?:api[ _-]?key|access[ _-]?key|secret[ _-]?key|client[ _-]?secret"
    r"|auth[ _-]?token|access[ _-]?token|secret|password|passwd|passwort|passphrase|pwd)"
)
_LABELLED = r"(?P<found>[^\s\"',;]{4,200})"
_DIGIT_RUN = r"(?:[ .\-/]?\d)"

BUILT_IN: tuple[Recogniser, ...] = (
    PrivateKeyRecogniser(),
    PatternRecogniser(
        "URL_WITH_CREDENTIALS",
        re.compile(
            r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/@:\"'<>]{0,256}:"
            r"[^\s/@\"'<>]{1,256}@[^\s\"'<>]{1,2048}"
        ),
    ),
    PatternRecogniser(
        "TOKEN",
        re.compile(
            r"(?<![\w-])(?:mlry_[a-z]{1,16}_[0-9a-z]{4,40}_[0-9A-Za-z]{20,80}"
            r"|sk-[A-Za-z0-9_-]{20,200}|[sr]k_(?:live|test)_[A-Za-z0-9]{10,200}"
            r"|gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{20,255}"
            r"|glpat-[A-Za-z0-9_-]{15,100}|xox[abeprs]-[A-Za-z0-9-]{10,250}"
            r"|hf_[A-Za-z0-9]{25,100}|npm_[A-Za-z0-9]{30,100}|pypi-[A-Za-z0-9_-]{40,400}"
            r"|A(?:KIA|SIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{30,45}"
            r"|eyJ[A-Za-z0-9_-]{5,8000}+\.[A-Za-z0-9_-]{5,16000}+\.[A-Za-z0-9_-]{0,2000})"
        ),
    ),
    PatternRecogniser(
        "SECRET", re.compile(rf"{_LABEL}[\"']?\s{{0,3}}[:=]\s{{0,3}}[\"']?{_LABELLED}")
    ),
    PatternRecogniser(
        "SECRET",
        re.compile(
            rf"{_LABEL}\s{{1,3}}(?:is|ist|lautet)\s{{1,3}}[\"']?(?=\S{{0,199}}\d){_LABELLED}"
        ),
    ),
    PatternRecogniser(
        "SECRET",
        re.compile(
            r"(?i)(?<![a-z0-9])(?:bearer|basic)\s{1,3}(?P<found>[A-Za-z0-9._~+/=-]{16,4096})"
        ),
    ),
    PatternRecogniser(
        "EMAIL",
        re.compile(
            r"(?<![\w.%+'-])[\w.%+'-]{1,64}+@(?:[^\W_](?:[\w-]{0,61})\.){1,8}[^\W\d_]{2,24}(?![\w-])"
        ),
    ),
    PatternRecogniser(
        "IBAN",
        re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}"),
        _iban,
    ),
    PatternRecogniser(
        "CREDIT_CARD",
        re.compile(
            r"(?<![\w.,-])(?:[2-6]\d{12,18}|[2-6]\d{3}(?P<by>[ -])\d{4}(?P=by)\d{4}(?P=by)\d{1,7}"
            r"|3\d{3}(?P<amex>[ -])\d{6}(?P=amex)\d{5})(?!\d)"
        ),
        _card,
    ),
    PatternRecogniser(
        "US_SSN",
        re.compile(
            r"(?<![\d-])(?!000|666|9\d\d)\d{3}(?P<by>[- ])(?!00)\d{2}(?P=by)(?!0000)\d{4}(?![\d-])"
        ),
    ),
    PatternRecogniser(
        "GERMAN_TAX_ID",
        re.compile(r"(?<!\d)[1-9]\d ?\d{3} ?\d{3} ?\d{3}(?!\d)"),
        _tax_id,
    ),
    PatternRecogniser(
        "IP_ADDRESS",
        re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)"),
        _address,
    ),
    PatternRecogniser(
        "IP_ADDRESS",
        re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,43}(?![\w:])"),
        _long_address,
    ),
    PatternRecogniser(
        "PHONE",
        re.compile(
            r"(?<![\w+])(?:\+|00)[1-9]\d{0,2}[ .\-/]?(?:\(\d{1,5}\)[ .\-/]?)?"
            rf"{_DIGIT_RUN}{{6,13}}(?!\d)"
        ),
        _phone,
    ),
    PatternRecogniser(
        "PHONE",
        re.compile(r"(?<![\w.+-])(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-])"),
        _phone,
    ),
    PatternRecogniser(
        "PHONE",
        re.compile(
            rf"(?<![\w.+-])\(?0[1-9]\d{{1,4}}\)?[ /\-]{{1,3}}\d{_DIGIT_RUN}{{4,9}}(?![\w-])"
        ),
        _phone,
    ),
    PatternRecogniser(
        "PHONE",
        re.compile(
            r"(?i)(?<![a-z])(?:tel|telefon|telephone|phone|mobile|mobil|handy|cell|fax"
            r"|call me (?:at|on))"
            rf"[^\d\n]{{0,12}}(?P<found>\d{_DIGIT_RUN}{{5,14}})(?!\d)"
        ),
        _phone,
    ),
    PatternRecogniser(
        "DATE_OF_BIRTH",
        re.compile(
            r"(?i)(?<![a-z])(?:date of birth|birth ?date|birthday|born(?: on)?|d\.?o\.?b\.?"
            r"|geboren(?: am)?|geb\.(?: am)?|geburtsdatum)[:\s]{0,5}(?:is |ist |was |war )?(?:on )?"
            r"(?P<found>\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}"
            r"|\d{1,2}(?:\.|st|nd|rd|th)? [^\W\d_]{3,9}\.?,? \d{4}"
            r"|[^\W\d_]{3,9}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4})"
        ),
    ),
)
"""All recognisers that come with Modelry; of two that overlap, the earlier one's name is told."""
