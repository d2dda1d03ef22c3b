"""The SQL side of the services' store ports: rows to domain values and back."""
