"""`/members`: the people of a tenant."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from modelry.domain import access
from modelry.domain.access import Permission, Role
from modelry.protocols.management.auditing import note
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Members
from modelry.protocols.management.shapes import Answer, Body

router = managed_router("members")


class Member(Answer):
    """A person with a role; without `subject` it is somebody invited who has not signed in yet."""

    member_id: str
    role: Role
    email: str | None
    name: str
    issuer: str | None
    subject: str | None
    created_at: datetime
    created_by: str
    disabled_at: datetime | None

    @classmethod
    def of(cls, member: access.Member) -> Member:
        """The shape of `member`."""
        return cls(
            member_id=member.member_id,
            role=member.role,
            email=member.email,
            name=member.name,
            issuer=member.issuer,
            subject=member.subject,
            created_at=member.created_at,
            created_by=member.created_by,
            disabled_at=member.disabled_at,
        )


class MemberList(Answer):
    """All members, oldest first, also disabled ones."""

    members: list[Member]


class MemberBody(Body):
    """A person to add: by e-mail, or by the issuer and subject that sign-in will tell."""

    role: Role
    email: Annotated[str, Field(min_length=3, max_length=254)] | None = None
    name: Annotated[str, Field(max_length=200)] = ""
    issuer: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    subject: Annotated[str, Field(min_length=1, max_length=255)] | None = None


class MemberChange(Body):
    """What can be changed of a member."""

    role: Role


@router.get("/members", summary="List members", openapi_extra=needs(Permission.MEMBERS_READ))
def list_members(caller: Caller, members: Members) -> MemberList:
    """All members of the tenant."""
    return MemberList(members=[Member.of(one) for one in members.list_members(caller)])


@router.post(
    "/members",
    status_code=201,
    summary="Add a member",
    openapi_extra=needs(Permission.MEMBERS_WRITE, recorded=("role",)),
)
def add_member(body: MemberBody, caller: Caller, members: Members) -> Member:
    """It may do no more than whoever adds it."""
    member = members.add(
        caller,
        role=body.role,
        email=body.email,
        name=body.name,
        issuer=body.issuer,
        subject=body.subject,
    )
    note(member_id=member.member_id)
    return Member.of(member)


@router.get(
    "/members/{member_id}", summary="One member", openapi_extra=needs(Permission.MEMBERS_READ)
)
def get_member(member_id: str, caller: Caller, members: Members) -> Member:
    """Also one that is disabled."""
    return Member.of(members.get(caller, member_id))


@router.patch(
    "/members/{member_id}",
    summary="Give a member another role",
    openapi_extra=needs(Permission.MEMBERS_WRITE, recorded=("role",)),
)
def change_member(member_id: str, body: MemberChange, caller: Caller, members: Members) -> Member:
    """Neither the old nor the new role may have rights that the caller lacks."""
    return Member.of(members.change_role(caller, member_id, body.role))


@router.post(
    "/members/{member_id}/disable",
    summary="Let a member sign in no more",
    openapi_extra=needs(Permission.MEMBERS_WRITE),
)
def disable_member(member_id: str, caller: Caller, members: Members) -> Member:
    """Refused with 409 for the last owner."""
    return Member.of(members.disable(caller, member_id))


@router.post(
    "/members/{member_id}/enable",
    summary="Let a disabled member sign in again",
    openapi_extra=needs(Permission.MEMBERS_WRITE),
)
def enable_member(member_id: str, caller: Caller, members: Members) -> Member:
    """With the role that it had."""
    return Member.of(members.enable(caller, member_id))
