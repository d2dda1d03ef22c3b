"""Signing people in: who a person is to an issuer, which member that is, and its sessions.

Owns: the steps of a sign-in, groups to roles, sessions (made, checked, renewed, ended), the token
    against forged requests.
Does not own: how an issuer is talked to (adapters/oidc), members (services.tenancy), what a role
    may do (domain.access), cookies (protocols/signin).
"""
