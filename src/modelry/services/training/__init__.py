"""Training: from a dataset version and a recipe to a registered version, and its lineage.

Owns: the jobs that train and search, what is recorded of each, running one again to compare.
Does not own: recipes (training/), the queue (services/jobs), registration (services/catalog).
"""
