"""The words of Modelry as frozen values, and its errors.

Owns: what a tenant, model, version, alias, deployment, replica and tensor *are*.
Does not own: storage, transport, time, or any I/O. Imports nothing of Modelry.
"""
