"""The doors: each parses a request, makes one service call and renders the answer.

Owns: wire formats and their error shapes.
Does not own: anything that two doors must agree on (that is `services`); storage.
Extend by: a folder with a `Door`; doors never import each other, only `protocols.http`.
"""
