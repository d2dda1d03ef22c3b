"""Signed heads of audit chains, in a file that is only ever appended to.

Owns: the file's format and durability.
Does not own: what a head says and when one is taken (services.audit).
"""
