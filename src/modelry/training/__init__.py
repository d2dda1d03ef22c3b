"""Recipes: from rows to a model that can be served, by gradient descent.

Owns: the recipes, the training loop that they share, export and the check that the exported model
answers as the trained one.
Does not own: jobs, datasets' storage, registration (services/). Only this package and runtimes/
import a machine-learning framework, and only in a work process: what is declared of a recipe (its
parameters, the data that it needs) is importable without one.

Extend by: an entry point in the group `modelry.recipes` that names a `Recipe`.
"""
