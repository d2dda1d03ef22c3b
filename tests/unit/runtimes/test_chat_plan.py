"""From chat requests to what engines are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import InvalidInput, ModelFailed, ModelryError, UnsupportedField
from modelry.runtime_api.engine import LoadSpec
from modelry.runtime_api.generation import ChatRequest, Sampling
from modelry.runtimes.chat.defaults import ChatDefaults
from modelry.runtimes.chat.plan import TemplateAbilities, plan_chat

PLAIN = TemplateAbilities()
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {}}}},
}


def defaults(**declared: Any) -> ChatDefaults:
    return ChatDefaults.of(LoadSpec("chat", "any", {"defaults": declared}, {"model": Path("m")}))


def messages_of(request: ChatRequest, template: TemplateAbilities = PLAIN) -> list[dict[str, Any]]:
    return plan_chat(request, template).messages


def test_parts_and_developers_become_plain_for_templates() -> None:
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]
    request = ChatRequest(
        [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}]
    )
    assert messages_of(request) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello\nthere"},
    ]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("Hello", "messages[1]"),
        ({"role": "king", "content": "x"}, "messages[1].role"),
        ({"role": "user"}, "messages[1].content"),
        ({"role": "user", "content": 3}, "messages[1].content"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[1].content[0]"),
        ({"role": "user", "content": "x", "mood": "good"}, "messages[1].mood"),
        ({"role": "assistant", "content": "", "tool_calls": [{}]}, "messages[1].tool_calls[0]"),
    ],
)
def test_what_is_no_message_is_refused_by_its_place(message: Any, param: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan_chat(ChatRequest([*HELLO, message]), PLAIN)
    assert caught.value.param == param


@given(
    st.lists(
        st.recursive(
            st.none() | st.integers() | st.sampled_from(["user", "assistant", "tool", "text"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["role", "content", "tool_calls", "function", "type"]), inner
                )
            ),
            max_leaves=6,
        ),
        max_size=3,
    )
)
def test_nothing_that_is_sent_breaks_the_plan(messages: Any) -> None:
    try:
        plan_chat(ChatRequest(messages), PLAIN)
    except ModelryError as error:
        assert error.message  # noqa: PT017 - either way is fine


def test_the_manifests_defaults_fill_what_is_open() -> None:
    filled = defaults(system="Be brief.", temperature=0.2, stop="\n").fill_chat(
        ChatRequest(HELLO, Sampling(temperature=0.9))
    )
    assert filled.messages[0] == {"role": "system", "content": "Be brief."}
    assert filled.sampling == Sampling(temperature=0.9, stop=("\n",))
    own = [{"role": "developer", "content": "Be long."}, *HELLO]
    assert defaults(system="Be brief.").fill_chat(ChatRequest(own)).messages == own


def test_defaults_that_no_engine_knows_are_told_at_load() -> None:
    with pytest.raises(ModelFailed, match="mood"):
        defaults(mood="good")
    with pytest.raises(InvalidInput, match="temperature"):
        defaults(temperature=-1)


def test_calls_of_earlier_turns_are_told_as_text() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    history = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "21"},
        {"role": "tool", "tool_call_id": "c2", "content": "22"},
    ]
    told = messages_of(ChatRequest(history))
    assert [message["role"] for message in told] == ["user", "assistant", "user"]
    assert '<tool_call>\n{"name":"f","arguments":{"x":1}}\n</tool_call>' in told[1]["content"]
    assert told[2]["content"].count("<tool_response>") == 2
    native = messages_of(ChatRequest(history), TemplateAbilities(tools=True))
    assert [message["role"] for message in native] == ["user", "assistant", "tool", "tool"]


def test_system_prompts_of_templates_without_that_role_go_to_the_user() -> None:
    request = ChatRequest([{"role": "system", "content": "Be kind."}, *HELLO])
    told = messages_of(request, TemplateAbilities(system_role=False))
    assert told == [{"role": "user", "content": "Be kind.\n\nHello"}]


def test_a_required_tool_is_forced_by_schema() -> None:
    plan = plan_chat(ChatRequest(HELLO, tools=[TOOL], tool_choice="required"), PLAIN)
    assert plan.schema is not None
    assert plan.schema["type"] == "object"
    assert plan.messages[0]["role"] == "system"
    assert '"name":"f"' in plan.messages[0]["content"]


def test_offered_tools_stop_after_one_call_when_only_one_is_wanted() -> None:
    plan = plan_chat(ChatRequest(HELLO, tools=[TOOL], parallel_tool_calls=False), PLAIN)
    assert plan.sampling.stop == ("</tool_call>",)
    assert plan.schema is None
    native = plan_chat(ChatRequest(HELLO, tools=[TOOL]), TemplateAbilities(tools=True))
    assert native.native_tools == [TOOL]


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "retrieval"}]},
        {"tools": [TOOL, TOOL]},
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": [1]}}]},
        {"tools": [TOOL], "tool_choice": "g"},
        {"tool_choice": "required"},
        {"tools": [TOOL] * 200},
    ],
)
def test_malformed_tools_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        plan_chat(ChatRequest(HELLO, **more), PLAIN)


def test_a_schema_beside_optional_tools_is_refused() -> None:
    with pytest.raises(UnsupportedField):
        plan_chat(ChatRequest(HELLO, tools=[TOOL], json_schema={}), PLAIN)
    plan = plan_chat(ChatRequest(HELLO, tools=[TOOL], tool_choice="none", json_schema={}), PLAIN)
    assert plan.schema == {"type": "object"}
