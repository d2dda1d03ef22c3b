"""What is wrong, or odd, with the rows of a dataset: a report in one pass and bounded memory.

Owns: the checks and how findings are told. Does not own: refusing rows (importers, recipes).
Extend by: a class with `add(split, row, batch)` and `findings()`, named in `validator.CHECKS`.

The report tells which rows by split and number (from 1) and never what they hold, beyond the names
of classes, so that who may see it need not be allowed to see rows.
"""

from modelry.datasets.validation.validator import Validator

__all__ = ["Validator"]
