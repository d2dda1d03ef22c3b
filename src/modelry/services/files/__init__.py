"""Files that tenants keep under an id: sent once, used by jobs, gone when deleted or expired.

Owns: ids, purposes, names, when files expire, who still needs one.
Does not own: their contents (services/catalog), what is made of them (services/finetuning).
"""
