"""What was used, by whom, what it costs, and what made an answer.

Owns: the ledger (records in segments, totals by the minute), its loss window, questions about it,
prices and costs, finding a request by its id.
Does not own: noting what requests use (services.inference.metering), quotas and budgets.
"""
