"""What changes something through other doors than the management API is in the audit log, too."""

from __future__ import annotations

import grpc
import pytest
from tests.support.server import Running

from modelry.protocols.oip.generated import open_inference_pb2 as pb

SERVICE = "/inference.GRPCInferenceService/"


def acts(http, after: int) -> list[tuple[str, str, str]]:
    page = http.get(
        "/api/v1/audit/entries", params={"after": after, "oldest_first": True, "limit": 50}
    )
    return [(one["action"], one["resource"], one["outcome"]) for one in page.json()["entries"]]


def last(http) -> int:
    page = http.get("/api/v1/audit/entries", params={"limit": 1}).json()
    return int(page["entries"][0]["sequence"])


@pytest.mark.parametrize("door", ["rest", "grpc"])
def test_loading_and_unloading_through_the_inference_protocol(words: Running, door: str) -> None:
    with words.http() as http:
        before = last(http)
        for act in ("unload", "load"):
            if door == "rest":
                assert http.post(f"/v2/repository/models/words/{act}", json={}).is_success
                unknown = http.post(f"/v2/repository/models/nobody/{act}", json={})
                assert unknown.status_code == 404
            else:
                _by_grpc(words, act)
        expected = [
            (f"deployments.{act}", f"/deployments/words/{act}", outcome)
            for act in ("unload", "load")
            for outcome in ("intent", "ok")
        ]
        assert acts(http, before) == expected


def _by_grpc(words: Running, act: str) -> None:
    name = f"RepositoryModel{act.capitalize()}"
    request = getattr(pb, f"{name}Request")(model_name="words")
    metadata = [("authorization", f"Bearer {words.key}")]
    with grpc.insecure_channel(words.grpc) as channel:
        call = channel.unary_unary(
            SERVICE + name,
            request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(pb, f"{name}Response").FromString,
        )
        call(request, metadata=metadata, timeout=60)
