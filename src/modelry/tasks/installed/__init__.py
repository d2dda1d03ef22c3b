"""The tasks: one module each, with its `TASK`.

Owns: what an item, an option and a result are; which steps are the default; which models suit.
Extend by: adding a module here; nothing else changes.
"""
