"""Implementations of the ports that services declare: databases, blobs, processes, hubs.

Owns: everything that talks to a disk, a database, a process or another server.
Does not own: decisions; those are in services. Doors never import adapters, only bootstrap does.
Extend by: a folder per outside system, proven with the contract suites under tests/contract.
"""
