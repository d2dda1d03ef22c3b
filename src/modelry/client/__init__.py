"""The Python SDK, sync and async, typed.

Owns: calling a Modelry server over HTTP.
Does not own: anything of the server; it imports none of it.
"""
