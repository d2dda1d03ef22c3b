"""Who did what, when: a chain of entries per tenant that cannot be changed unseen.

Owns: the chain's format and keys, appending, verification, signed heads, who may read entries.
Does not own: which acts are entered (each area appends its own; the management door enters every
unsafe route), and the tables (adapters.sql).
"""
