"""Finding models and versions within a transaction, and saying so when they are not there."""

from __future__ import annotations

import re

from modelry.domain.catalog import NAME_PATTERN, Model, Version
from modelry.domain.errors import InvalidInput, NotFound
from modelry.services.catalog.ports import CatalogRecords

MAX_NUMBER = 2**31 - 1
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")


def the_model(records: CatalogRecords, name: str) -> Model:
    """One model.

    Raises:
        NotFound: there is none of that name in the tenant.
    """
    found = records.models.find(name) if NAME_PATTERN.fullmatch(name) else None
    if found is None:
        raise NotFound(f"Model '{name[:80]}' does not exist.", param="model")
    return found


def the_version(records: CatalogRecords, name: str, number: int) -> Version:
    """One version.

    Raises:
        NotFound: no such model, or no such version of it.
    """
    the_model(records, name)
    found = records.models.find_version(name, number) if 0 < number <= MAX_NUMBER else None
    if found is None:
        newest = records.models.newest_version(name)
        hint = f"the newest is {newest.number}" if newest else "it has none"
        raise NotFound(f"Model '{name}' has no version {number}; {hint}.", param="version")
    return found


def resolve(records: CatalogRecords, reference: str) -> Version:
    """The version that `name` (its newest), `name@number` or `name@alias` means.

    Raises:
        NotFound: no such model, version or alias.
        InvalidInput: not of these forms.
    """
    name, at, which = reference.partition("@")
    if not at:
        model = the_model(records, name)
        newest = records.models.newest_version(model.name)
        if newest is None:
            raise NotFound(f"Model '{name}' has no versions; register one.", param="model")
        return newest
    if _NUMBER.fullmatch(which):
        return the_version(records, name, int(which))
    if not NAME_PATTERN.fullmatch(which):
        raise InvalidInput(
            f"'{reference[:80]}' is not understood; expected 'name', 'name@3' or 'name@alias'.",
            param="model",
        )
    the_model(records, name)
    alias = records.aliases.find(name, which)
    if alias is None:
        known = ", ".join(one.name for one in records.aliases.all(name)) or "none"
        raise NotFound(f"Model '{name}' has no alias '{which}'; it has: {known}.", param="alias")
    return the_version(records, name, alias.version_number)
