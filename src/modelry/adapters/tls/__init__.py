"""The certificate that both ports show: an operator's files, or one of an authority of our own.

Owns: reading, checking and reloading certificate and key; making and renewing our own.
Does not own: whether TLS is wanted (settings), who listens with it (protocols).
"""
