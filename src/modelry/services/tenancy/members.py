"""Use cases on members: the people of a tenant."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from modelry.domain.access import ApiKey, Member, Permission, Principal, Role, TenantState
from modelry.domain.errors import Conflict, InvalidInput, NotFound
from modelry.services.tenancy.clock import utc_now
from modelry.services.tenancy.ports import KeyRecords, KeyStore
from modelry.services.tenancy.rights import (
    check_has_no_limits,
    check_is_whole,
    check_role_within,
)
from modelry.services.tenancy.tokens import make_key_id

MAX_MEMBERS = 10_000
MAX_EMAIL_CHARS = 254

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}")


class MembersService:
    """Adds, lists, changes and disables members, and finds them for sign-in.

    Args:
        store: keeps members.
        changed: called after each change, in the thread that made it.
        clock: gives the time.
    """

    def __init__(
        self,
        store: KeyStore,
        changed: Callable[[], None],
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._changed = changed
        self._clock = clock

    # ---- callers ----------------------------------------------------------------------------

    def list_members(self, principal: Principal) -> list[Member]:
        """All members of the caller's tenant, oldest first, also disabled ones."""
        principal.require(Permission.MEMBERS_READ)
        return self._store.read(principal.tenant_id, lambda records: records.members.all())

    def get(self, principal: Principal, member_id: str) -> Member:
        """One member of the caller's tenant.

        Raises:
            NotFound: no such member in the tenant.
        """
        principal.require(Permission.MEMBERS_READ)
        return self._store.read(principal.tenant_id, lambda records: _found(records, member_id))

    def add(
        self,
        principal: Principal,
        *,
        role: Role,
        email: str | None = None,
        name: str = "",
        issuer: str | None = None,
        subject: str | None = None,
    ) -> Member:
        """Add a person, known by e-mail (until the first sign-in) or by issuer and subject.

        Raises:
            PermissionDenied: the caller may not add members, or not one with these rights.
            InvalidInput: neither e-mail nor issuer and subject, or not what they must be.
            Conflict: the person is a member already.
        """
        principal.require(Permission.MEMBERS_WRITE)
        address = None if email is None else checked_email(email)
        _check_person(address, name, issuer, subject)
        member = Member(
            tenant_id=principal.tenant_id,
            member_id=make_key_id(),
            role=role,
            created_at=self._clock(),
            created_by=principal.key_id,
            email=address,
            name=name,
            issuer=issuer,
            subject=subject,
        )

        def work(records: KeyRecords) -> None:
            check_role_within(principal, role, "add a member of")
            check_is_whole(principal, _own(records, principal), "a member")
            check_has_no_limits(records, principal, "a member")
            members = records.members.all()
            _check_is_new(member, members)
            if len(members) >= MAX_MEMBERS:
                raise Conflict(f"The tenant has {MAX_MEMBERS} members, the most it can have.")
            records.members.put(member)

        self._store.write(principal.tenant_id, work)
        self._changed()
        return member

    def change_role(self, principal: Principal, member_id: str, role: Role) -> Member:
        """Give a member another role.

        Raises:
            NotFound: no such member in the tenant.
            PermissionDenied: the old or the new role has rights that the caller lacks.
            Conflict: no owner would be left.
        """

        def work(records: KeyRecords, member: Member) -> Member:
            check_role_within(principal, role, "make somebody")
            check_is_whole(principal, _own(records, principal), "a member")
            check_has_no_limits(records, principal, "a member")
            changed = replace(member, role=role)
            if role is not Role.OWNER:
                check_owner_left(records, self._clock(), member=member)
            return changed

        return self._change(principal, member_id, work)

    def disable(self, principal: Principal, member_id: str) -> Member:
        """Let a member sign in no more; its sessions end. Once more changes nothing.

        Raises:
            NotFound: no such member in the tenant.
            PermissionDenied: it has rights that the caller lacks.
            Conflict: no owner would be left.
        """

        def work(records: KeyRecords, member: Member) -> Member:
            if member.disabled_at is not None:
                return member
            check_owner_left(records, self._clock(), member=member)
            return replace(member, disabled_at=self._clock())

        return self._change(principal, member_id, work)

    def enable(self, principal: Principal, member_id: str) -> Member:
        """Let a disabled member sign in again.

        Raises:
            NotFound: no such member in the tenant.
            PermissionDenied: it has rights that the caller lacks.
        """

        def work(records: KeyRecords, member: Member) -> Member:
            check_is_whole(principal, _own(records, principal), "a member")
            check_has_no_limits(records, principal, "a member")
            return replace(member, disabled_at=None)

        return self._change(principal, member_id, work)

    def _change(
        self, principal: Principal, member_id: str, change: Callable[[KeyRecords, Member], Member]
    ) -> Member:
        principal.require(Permission.MEMBERS_WRITE)

        def work(records: KeyRecords) -> Member:
            member = _found(records, member_id)
            check_role_within(principal, member.role, "change a member of")
            changed = change(records, member)
            records.members.put(changed)
            return changed

        member = self._store.write(principal.tenant_id, work)
        self._changed()
        return member

    # ---- sign-in ----------------------------------------------------------------------------

    def find_member(self, issuer: str, subject: str, tenant_id: str | None = None) -> Member | None:
        """The member that is this person, in `tenant_id` or else in its oldest tenant.

        Disabled ones are found too: whoever signs people in must look at `disabled_at`.
        """
        found = self.find_members(issuer, subject)
        return next((one for one in found if tenant_id in (None, one.tenant_id)), None)

    def find_members(self, issuer: str, subject: str) -> list[Member]:
        """The members that this person is, over all tenants, oldest first."""
        return self._store.find_subject(issuer, subject)

    def find_invited(self, tenant_id: str, email: str) -> Member | None:
        """The member who was invited by this address and has not signed in yet.

        Ask it only for an address that the issuer says it has verified.
        """
        wanted = email.strip().casefold()
        members = self._store.read(tenant_id, lambda records: records.members.all())
        return next((one for one in members if not one.has_signed_in and one.email == wanted), None)

    def note_sign_in(self, member: Member) -> Member | None:
        """Keep who a person turned out to be, or the person as a new member.

        Whether it may sign in is looked at in the same transaction: who was disabled meanwhile
        stays so.

        Returns:
            The member as it is kept; None when it is disabled or its tenant may not act.
        """

        def work(records: KeyRecords) -> Member | None:
            tenant = records.tenant()
            if tenant is None or tenant.state is not TenantState.ACTIVE:
                return None
            found = records.members.find(member.member_id)
            if found is not None and found.disabled_at is not None:
                return None
            kept = member
            if found is not None:
                kept = replace(
                    found,
                    role=member.role,
                    name=member.name,
                    issuer=member.issuer,
                    subject=member.subject,
                )
            if kept != found:
                records.members.put(kept)
            return kept

        kept = self._store.write(member.tenant_id, work)
        if kept is not None:
            self._changed()
        return kept

    def put_member(self, member: Member) -> None:
        """Insert or replace a member, in the name of whoever signs people in.

        Raises:
            Conflict: the tenant does not exist, or another member is the same person.
        """
        self._store.write(member.tenant_id, lambda records: records.members.put(member))
        self._changed()


def checked_email(email: str) -> str:
    """The address as it is kept: without blanks around it, in lower case.

    Raises:
        InvalidInput: it is none.
    """
    address = email.strip().casefold()
    if not _EMAIL.fullmatch(address) or len(address) > MAX_EMAIL_CHARS or not address.isprintable():
        raise InvalidInput(
            f"{email[:80]!r} is no e-mail address; expected one such as 'ada@example.com'.",
            param="email",
        )
    return address


def check_owner_left(
    records: KeyRecords,
    now: datetime,
    *,
    member: Member | None = None,
    key: ApiKey | None = None,
) -> None:
    """Refuse to take away the last owner: a whole key, or a member who has signed in.

    Args:
        records: of the tenant.
        now: the time.
        member: who shall be an owner no more.
        key: which key shall be an owner's no more.

    Raises:
        Conflict: nobody could manage the tenant without it.
    """
    if not ((key is not None and _is_owner_key(key, now)) or (member and _is_owner(member))):
        return
    keys = [one for one in records.all() if key is None or one.key_id != key.key_id]
    members = [
        one for one in records.members.all() if member is None or one.member_id != member.member_id
    ]
    if any(_is_owner_key(one, now) for one in keys) or any(map(_is_owner, members)):
        return
    raise Conflict(
        "This is the last owner; without one nobody could manage the tenant. Create another "
        "owner key first.",
        param="key_id" if key is not None else "member_id",
    )


def _is_owner_key(key: ApiKey, now: datetime) -> bool:
    return (
        key.role is Role.OWNER
        and key.is_valid_at(now)
        and key.scopes is None
        and not key.deployments
    )


def _is_owner(member: Member) -> bool:
    return member.role is Role.OWNER and member.has_signed_in and member.disabled_at is None


def _found(records: KeyRecords, member_id: str) -> Member:
    member = records.members.find(member_id)
    if member is None:
        raise NotFound(f"Member '{member_id[:80]}' does not exist.", param="member_id")
    return member


def _own(records: KeyRecords, principal: Principal) -> ApiKey | None:
    return records.find(principal.key_id)


def _check_person(email: str | None, name: str, issuer: str | None, subject: str | None) -> None:
    if (issuer is None) != (subject is None):
        raise InvalidInput(
            "'issuer' and 'subject' belong together: give both or neither.", param="subject"
        )
    if email is None and subject is None:
        raise InvalidInput(
            "Say who the person is: give 'email', or 'issuer' and 'subject'.", param="email"
        )
    for what, text, most in (
        ("name", name, 200), ("issuer", issuer or "", 512), ("subject", subject or "", 255),
    ):  # fmt: skip
        if len(text) > most or not text.isprintable():
            raise InvalidInput(
                f"'{what}' must have at most {most} printable characters.", param=what
            )


def _check_is_new(member: Member, others: list[Member]) -> None:
    for other in others:
        is_same = member.has_signed_in and (
            (other.issuer, other.subject) == (member.issuer, member.subject)
        )
        if is_same or (member.email is not None and other.email == member.email):
            raise Conflict(
                f"This person is a member already: '{other.member_id}'"
                + (", disabled." if other.disabled_at else "."),
                param="subject" if is_same else "email",
            )
