"""OpenID Connect: what an issuer says of itself, its keys, its tokens.

Owns: discovery, key sets, the token endpoint, the check of ID tokens, the operator's file of
    issuers.
Does not own: what follows from an identity (services.signin).
"""
