"""Tenants and API keys: who exists, who may make, list and revoke keys, and which are valid.

Owns: the shape of keys, their keyed hashes, minting and revocation, the owner's key.
Does not own: what a role may do (domain.access), the check on each request
(services.inference.authentication, which reads the valid keys from here).
"""
