"""Use cases, a folder each: who may do what, in which order, in which transaction.

Owns: authorisation, validation across words of the domain, transactions as units of work.
Does not own: how anything is stored, sent or run; that is behind the ports that each folder
declares in `ports.py` and adapters implement.
Extend by: a folder with `service.py` and `ports.py`.
"""
