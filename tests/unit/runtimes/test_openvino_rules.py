"""Which GGUF files and JSON schemas the OpenVINO runtime refuses; needs no OpenVINO."""

from __future__ import annotations

from typing import Any

import pytest

from modelry.domain.errors import NotSupported, UnsupportedField
from modelry.manifest.inspect.facts import FileFacts
from modelry.runtimes.openvino.gguf_rules import refuse_adapters, refuse_unfaithful
from modelry.runtimes.openvino.json_grammar import grammar_of

SOUND = {"architecture": "llama", "tokenizer": "gpt2", "tensor_types": "F32,Q8_0"}


def facts(**changed: str) -> FileFacts:
    return FileFacts("gguf", 1, metadata=SOUND | changed)


def test_faithful_files_pass() -> None:
    refuse_unfaithful(facts(), "model.gguf")
    refuse_unfaithful(facts(tensor_types="F32,Q4_0"), "model.gguf")
    refuse_adapters(["model"])


def test_adapters_are_refused() -> None:
    with pytest.raises(NotSupported, match=r"does not add\. Use the runtime 'llamacpp'"):
        refuse_adapters(["adapter", "model"])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"architecture": "mamba"}, "mamba"),
        ({"tokenizer": "llama"}, "tokeniser"),
        ({"tensor_types": "F32,Q4_1"}, "3.44 instead of 3.25"),
        ({"tensor_types": "F32,Q4_K,Q6_K"}, "cannot read"),
        ({"tensor_types": "Q5_0"}, "cannot read"),
        ({"tensor_types": "IQ4_XS"}, "never compared"),
    ],
)
def test_others_are_refused_with_the_reason_and_a_way_out(
    changed: dict[str, str], told: str
) -> None:
    with pytest.raises(NotSupported, match="llamacpp") as caught:
        refuse_unfaithful(facts(**changed), "model.gguf")
    assert told in caught.value.message
    assert "model.gguf" in caught.value.message


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a+"},
        {"type": "string", "format": "date"},
        {"type": "number", "minimum": 0.5},
        {"type": "integer", "multipleOf": 7},
        {"type": "integer", "minimum": 0, "maximum": 2000},
        {"allOf": [{"type": "integer"}, {"type": "string"}]},
        {"type": "array", "prefixItems": [{"type": "null"}]},
        {"type": "object", "patternProperties": {"a": {}}},
        {"type": "object", "required": ["a"]},
        {"enum": [{"a": 1}]},
        {"anyOf": [{"type": "null"}], "minLength": 1},
        {"minLength": 1, "minItems": 1},
        {"type": "object", "properties": {"deep": {"type": "array", "items": {"pattern": "a"}}}},
    ],
)
def test_schemas_that_cannot_be_enforced_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedField) as caught:
        grammar_of(schema)
    assert caught.value.param == "json_schema"


def test_every_rule_that_is_used_is_written_once() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": ["integer", "null"]},
            "b": {"$ref": "#/$defs/node"},
            'quo"te\\': {"enum": ["x\n", 1.5, None]},
        },
        "required": ["b"],
        "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    }
    names = [line.split(" ::= ")[0] for line in grammar_of(schema).splitlines() if line]
    assert len(names) == len(set(names))
    assert all("::=" in line for line in grammar_of(schema).splitlines() if line)
    assert r'"\"quo\\\"te\\\\\""' in grammar_of(schema)
