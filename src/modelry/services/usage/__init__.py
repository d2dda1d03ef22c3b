"""What was used, by whom: totals per minute, buffered on the way to the database.

Owns: the buffer, its loss window, and the totals that callers may see.
Does not own: counting requests (services.inference meters them), quotas.
"""
