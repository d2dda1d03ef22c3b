"""Row-level security: PostgreSQL itself keeps tenants apart, below our own filter.

Each transaction says whose it is by a setting that ends with it. Two policies on every table of
tenants read these settings: without either, no row is seen and none can be written. FORCE makes
them hold for the role that owns the tables, too. All is derived from the metadata and put in
place whenever the schema is brought up to date, so that no new table has to ask for it.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, Table, func, select
from sqlalchemy.exc import ProgrammingError

from modelry.adapters.sql.tables import Base, TenantScoped
from modelry.domain.errors import Conflict, InvalidInput

TENANT_SETTING = "modelry.tenant"
SYSTEM_SETTING = "modelry.system"
"""The purpose of a transaction over all tenants."""

_EXPRESSIONS = {
    "modelry_tenant": "((tenant_id)::text = "
    f"NULLIF(current_setting('{TENANT_SETTING}'::text, true), ''::text))",
    "modelry_system": "(NULLIF("
    f"current_setting('{SYSTEM_SETTING}'::text, true), ''::text) IS NOT NULL)",
}
"""Both policies, as PostgreSQL writes them back. A setting is empty after its first use."""
_ALL_COMMANDS = "*"
_EVERYBODY = 0
NOT_ALLOWED = "42501"
"""PostgreSQL: insufficient privilege."""

_IDLE_MS = "10000"
"""A server that is suspended in a transaction holds locks that the others wait for: no longer than
this; milliseconds. Ours ask their next question at once.
"""


def tenant_tables() -> list[Table]:
    """Every table whose rows belong to tenants."""
    return [
        mapper.local_table
        for mapper in Base.registry.mappers
        if issubclass(mapper.class_, TenantScoped) and isinstance(mapper.local_table, Table)
    ]


def enter_tenant(connection: Connection, tenant_id: str) -> None:
    """Let this transaction see and write the rows of `tenant_id`; nothing to do on SQLite."""
    _set_until_its_end(connection, TENANT_SETTING, tenant_id)


def enter_system(connection: Connection, purpose: str) -> None:
    """Let this transaction see and write all tenants' rows; nothing to do on SQLite."""
    _set_until_its_end(connection, SYSTEM_SETTING, purpose)


def _set_until_its_end(connection: Connection, setting: str, value: str) -> None:
    if connection.dialect.name == "postgresql":
        local = True
        connection.execute(
            select(
                func.set_config(setting, value, local),
                func.set_config("idle_in_transaction_session_timeout", _IDLE_MS, local),
            )
        )


def serving_role(engine: Engine) -> str:
    """The role that requests are served under.

    Raises:
        InvalidInput: the role passes over row-level security.
    """
    with engine.connect() as connection:
        role, is_superuser, bypasses = connection.exec_driver_sql(
            "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).one()
    if is_superuser or bypasses:
        raise InvalidInput(
            f"The database role '{role}' passes over row-level security (it is a superuser or has "
            "BYPASSRLS), so PostgreSQL would not keep tenants apart. Make a plain role, with "
            "CREATE ROLE modelry_app LOGIN PASSWORD '…', and name it in the database URL; the "
            "role that owns the tables goes into MODELRY_DATABASE_OWNER_URL.",
            param="database_url",
        )
    return str(role)


def protect(connection: Connection) -> None:
    """Put both policies, and nothing beside them, on every table of tenants.

    Raises:
        Conflict: something is missing, and this role may not mend it.
    """
    missing = unprotected(connection)
    if not missing:
        return
    try:
        for name in missing:
            _protect(connection, name)
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != NOT_ALLOWED:
            raise
        raise Conflict(
            f"Row-level security is not in place on {', '.join(missing)}, and this database role "
            "may not mend it. Start once with MODELRY_DATABASE_OWNER_URL, the URL of the role "
            "that owns the tables.",
            param="database_owner_url",
        ) from None


def unprotected(connection: Connection) -> list[str]:
    """Tables of tenants on which a policy is missing, changed, or one too many."""
    found = connection.exec_driver_sql(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,"
        " p.polname, p.polpermissive, p.polcmd, p.polroles,"
        " pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid)"
        " FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid"
        " WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)"
    ).all()
    forced: dict[str, bool] = {}
    policies: dict[str, set[tuple[object, ...]]] = {}
    for table, is_forced, name, permissive, command, roles, *expressions in found:
        forced[table] = is_forced
        if name is not None:
            policy = (name, permissive, _char(command), tuple(roles), *expressions)
            policies.setdefault(table, set()).add(policy)
    wanted = {
        (name, True, _ALL_COMMANDS, (_EVERYBODY,), expression, expression)
        for name, expression in _EXPRESSIONS.items()
    }
    return sorted(
        table.name
        for table in tenant_tables()
        if not forced.get(table.name) or policies.get(table.name) != wanted
    )


def _char(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _protect(connection: Connection, table: str) -> None:
    quoted = connection.dialect.identifier_preparer.quote(table)
    policies = connection.exec_driver_sql(
        "SELECT polname FROM pg_policy WHERE polrelid = to_regclass(%s)", (quoted,)
    ).scalars()
    statements = [
        f"DROP POLICY {connection.dialect.identifier_preparer.quote(name)} ON {quoted}"
        for name in policies
    ]
    statements += [
        f"CREATE POLICY {name} ON {quoted} USING {expression} WITH CHECK {expression}"
        for name, expression in _EXPRESSIONS.items()
    ]
    statements.append(f"ALTER TABLE {quoted} ENABLE ROW LEVEL SECURITY")
    statements.append(f"ALTER TABLE {quoted} FORCE ROW LEVEL SECURITY")
    for statement in statements:
        connection.exec_driver_sql(statement)


def grant(connection: Connection, role: str) -> None:
    """Let `role` read and write rows, and change nothing else, where it is not the owner."""
    owner, schema = connection.exec_driver_sql("SELECT current_user, current_schema()").one()
    if role == owner:
        return
    quote = connection.dialect.identifier_preparer.quote
    tables = ", ".join(quote(table.name) for table in Base.metadata.sorted_tables)
    for statement in (
        f"GRANT USAGE ON SCHEMA {quote(schema)} TO {quote(role)}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {quote(role)}",
        f"GRANT SELECT ON alembic_version TO {quote(role)}",
    ):
        connection.exec_driver_sql(statement)
