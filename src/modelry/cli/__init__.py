"""The `modelry` command.

Owns: arguments, progress bars, tables, exit codes.
Does not own: use cases (client for a running server, bootstrap to start one).
"""
