import inspect

import pytest

import modelry.client.errors as sdk
from modelry.client.errors import told_error
from modelry.domain.errors import ERRORS_BY_CODE
from modelry.protocols.http.errors import STATUS_BY_CODE
from modelry.protocols.openai.errors import error_body

UNTOLD = {"error", "cancelled", "lease_lost"}
"""The base, what nobody is there to hear, and what attempts at jobs are told alone."""


@pytest.mark.parametrize("code", sorted(set(ERRORS_BY_CODE) - UNTOLD))
def test_every_error_of_the_server_has_its_class(code):
    theirs = ERRORS_BY_CODE[code]
    ours = told_error(STATUS_BY_CODE[code], {"code": code, "message": "why", "param": "x"})
    wanted = "InvalidInput" if theirs.__name__ == "MalformedBody" else theirs.__name__
    assert type(ours).__name__ == wanted
    assert (ours.code, ours.message, ours.param) == (code, "why", "x")
    assert ours.status == STATUS_BY_CODE[code]


@pytest.mark.parametrize("code", sorted(set(ERRORS_BY_CODE) - UNTOLD))
def test_the_openai_door_tells_the_same_classes(code):
    told = error_body(ERRORS_BY_CODE[code]("why"))
    direct = told_error(STATUS_BY_CODE[code], {"code": code, "message": "why"})
    assert type(told_error(STATUS_BY_CODE[code], told["error"])) is type(direct)


@pytest.mark.parametrize(
    ("status", "cls"),
    [(400, sdk.InvalidInput), (401, sdk.Unauthenticated), (403, sdk.PermissionDenied),
     (404, sdk.NotFound), (409, sdk.Conflict), (413, sdk.PayloadTooLarge), (418, sdk.InvalidInput),
     (429, sdk.QuotaExceeded), (503, sdk.Unavailable), (500, sdk.ServerError),
     (599, sdk.ServerError)],
)  # fmt: skip
def test_a_bare_message_is_told_by_its_status(status, cls):
    error = told_error(status, "why")
    assert type(error) is cls
    assert error.message == "why"


@pytest.mark.parametrize("error", [None, 3, [], {}, {"message": 3, "code": [], "param": {}}])
def test_any_shape_of_error_is_survived(error):
    assert "500" in told_error(500, error).message


def test_every_class_is_in_the_drawing():
    classes = [
        name
        for name, one in vars(sdk).items()
        if inspect.isclass(one) and one.__module__ == sdk.__name__
    ]
    for name in classes:
        assert name.startswith("_") or name in (sdk.__doc__ or ""), name
