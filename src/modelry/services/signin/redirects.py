"""Where a browser may be sent after a sign-in: to this server and nowhere else."""

from __future__ import annotations

import re

from modelry.domain.errors import InvalidInput

DEFAULT_PATH = "/docs"
_LOCAL = re.compile(r"/(?![/\\])[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]{0,1000}")


def local_path(asked: str | None) -> str:
    """The path to go on to; `DEFAULT_PATH` when none was asked for.

    Raises:
        InvalidInput: it would lead to another server, or a browser might take it that way.
    """
    if asked is None:
        return DEFAULT_PATH
    if not _LOCAL.fullmatch(asked):
        raise InvalidInput(
            "'next' must be a path of this server, such as '/docs': no scheme, no host, no "
            "back-slashes, at most 1000 characters.",
            param="next",
        )
    return asked
