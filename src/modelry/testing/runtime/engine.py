# ruff: noqa: D102 - the names of the tests say what they check
"""What every engine must do, whatever its abilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from modelry.domain.errors import FileRefused
from modelry.domain.signature import NO_TENSORS
from modelry.manifest.document import MAIN_ROLE
from modelry.manifest.inspect import inspect_file
from modelry.runtime_api import engine as api
from modelry.runtime_api.answer_scores import SupportsAnswerScores
from modelry.runtime_api.engine import Engine, LoadSpec, Runtime
from modelry.testing.runtime.given import Given

ABILITIES = (
    api.SupportsTensors,
    api.SupportsChat,
    api.SupportsCompletion,
    api.SupportsTextEmbedding,
    api.SupportsTextToText,
    SupportsAnswerScores,
)


class EngineContract(Given):
    """Any engine; the suites of abilities inherit it. `engine` is loaded once for the class."""

    proves: ClassVar[tuple[type, ...]] = ()
    """The abilities that the suites of a class prove."""
    proved_elsewhere: ClassVar[tuple[type, ...]] = ()
    """Those that another class proves: chats and completions need one each."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        inherited = [ability for base in cls.__mro__ for ability in vars(base).get("proves", ())]
        cls.proves = tuple(dict.fromkeys(inherited))

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, runtime: Runtime, spec: LoadSpec) -> Iterator[Engine]:
        loaded = runtime.load(spec)
        yield loaded
        loaded.close()

    def test_every_ability_is_put_to_the_test(self, engine: Engine) -> None:
        loaded: object = engine
        has = {ability for ability in ABILITIES if isinstance(loaded, ability)}
        assert has, "an engine that can do nothing"
        assert has == {*self.proves, *self.proved_elsewhere}, (
            "inherit the suite of each ability that the engine has"
        )

    def test_capacity_is_a_count(self, engine: Engine) -> None:
        assert type(engine.capacity) is int
        assert engine.capacity >= 1

    def test_the_signature_is_what_inspection_promised(
        self, engine: Engine, spec: LoadSpec
    ) -> None:
        try:
            promised = inspect_file(spec.files[MAIN_ROLE]).signature
        except FileRefused:
            return  # a format that only this runtime knows
        if promised != NO_TENSORS:
            assert engine.signature == promised
        if not isinstance(engine, api.SupportsTensors):
            assert engine.signature == NO_TENSORS
