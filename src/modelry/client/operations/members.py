"""Members: the people of a tenant."""

from __future__ import annotations

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Request, send_json
from modelry.client.operations.paths import api
from modelry.client.records import Member


def list_members() -> Flow[list[Member]]:
    """All members, oldest first, also disabled ones."""
    body = yield from send_json(Request("GET", api("members"), idempotent=True))
    return decode_list(Member, body, "members")


def get_member(member_id: str) -> Flow[Member]:
    """One member."""
    request = Request("GET", api("members", member_id), idempotent=True)
    return decode(Member, (yield from send_json(request)))


def add_member(
    role: str,
    *,
    email: str | None = None,
    name: str = "",
    issuer: str | None = None,
    subject: str | None = None,
) -> Flow[Member]:
    """Add a person: by e-mail, or by issuer and subject.

    Args:
        role: owner, admin, developer, operator, viewer, auditor or inference.
        email: the address that the person will sign in with.
        name: what people call it.
        issuer: who signs the person in.
        subject: what the issuer calls the person.
    """
    given = {"email": email, "issuer": issuer, "subject": subject}
    body = {"role": role, "name": name} | {k: v for k, v in given.items() if v is not None}
    return decode(Member, (yield from send_json(Request("POST", api("members"), json=body))))


def change_member(member_id: str, role: str) -> Flow[Member]:
    """Give a member another role."""
    request = Request("PATCH", api("members", member_id), json={"role": role}, idempotent=True)
    return decode(Member, (yield from send_json(request)))


def disable_member(member_id: str) -> Flow[Member]:
    """Let a member sign in no more."""
    request = Request("POST", api("members", member_id, "disable"), idempotent=True)
    return decode(Member, (yield from send_json(request)))


def enable_member(member_id: str) -> Flow[Member]:
    """Let a disabled member sign in again."""
    request = Request("POST", api("members", member_id, "enable"), idempotent=True)
    return decode(Member, (yield from send_json(request)))
