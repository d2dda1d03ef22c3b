"""Every operation once, as a flow; the sync and the async client run the same ones.

One file per kind of thing. A flow yields requests and gets answers (`client/exchange.py`).
"""
