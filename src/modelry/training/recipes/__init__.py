"""The recipes that come with Modelry: a folder each.

Owns: which networks, losses and augmentations there are, and what data suits them.
Does not own: the loop, export and parity (`training/`), jobs (services/training).
A recipe's `__init__` declares it and imports no framework; its other modules do, and are imported
when it trains.
"""
