"""What of people's data is kept, for how long, and what is done to it before.

Owns: recognising and redacting personal data, request logs (opt-in), retention, the export of
all that belongs to a tenant.
Does not own: encryption (services.encryption), the audit log, deleting tenants.
"""
