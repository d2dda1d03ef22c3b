"""The people's door: to an issuer and back, the session that comes of it, and its end.

Owns: `/auth/…`, the cookies that it sets.
Does not own: the steps of a sign-in and sessions (services.signin), the check of a session on each
    request (protocols.http.credentials, services.inference.authentication).
"""

from modelry.protocols.signin.routes import PREFIX, build_door

__all__ = ["PREFIX", "build_door"]
