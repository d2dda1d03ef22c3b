"""What detection models give, family by family, as boxes.

Owns: one module per family of output formats, grids and priors, candidates, suppression.
Does not own: the steps that manifests name (processing/steps/detection.py).
Extend by: a module with a `Family`, listed in `families.FAMILIES`.
"""
