"""The relational database: SQLite by default, PostgreSQL by URL.

Owns: tables, migrations, transactions, the tenant filter, and the SQL side of every store port.
Does not own: what a transaction is for (services), file contents (adapters.blobs).
Extend by: a row class in `tables.py`, a migration that creates its table, a store beside the
others; every row belongs to a tenant unless `tables.py` says why not.
"""
