"""Tenants, their API keys and members: who exists, and who may make, change and end whom.

Owns: the shape of keys, their keyed hashes, minting, rotation and revocation, the owner's key,
members and their roles.
Does not own: what a role may do (domain.access), the check on each request
(services.inference.authentication, which reads the valid keys from here), signing people in.
"""
