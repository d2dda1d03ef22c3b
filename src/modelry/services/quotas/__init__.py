"""How much each tenant and key may use, and has left.

Owns: limits, the accounts that every request is admitted and settled on, and the counts that
several gateways share through the database.
Does not own: what is billed (services.usage), queues and replicas (services.inference).
"""
