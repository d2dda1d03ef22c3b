import pytest

from modelry.domain.errors import InvalidInput, QuotaExceeded, Unauthenticated
from modelry.services.quotas import pacing
from modelry.services.quotas.pacing import LONGEST_HOLD_S, REFUSALS_PER_S, Pacer, network_of

REFUSED = QuotaExceeded("too fast", retry_after_s=1)
NOBODY = Unauthenticated("who?")


def test_refusals_of_a_flood_are_held_back_and_never_longer_than_a_second():
    pacer = Pacer()
    holds = [pacer.hold_s(REFUSED, "t1", "", 100.0) for _ in range(int(REFUSALS_PER_S) * 5)]
    assert holds[: int(REFUSALS_PER_S)] == [0.0] * int(REFUSALS_PER_S)
    assert 0 < holds[int(REFUSALS_PER_S)] < 0.1
    assert holds[-1] == LONGEST_HOLD_S
    assert max(holds) == LONGEST_HOLD_S
    assert pacer.hold_s(REFUSED, "t1", "", 102.1) == 0.0


def test_a_flood_holds_up_nobody_else():
    pacer = Pacer()
    for _ in range(1000):
        pacer.hold_s(REFUSED, "t1", "10.0.0.1", 0.0)
        pacer.hold_s(NOBODY, None, "10.0.0.1", 0.0)
    assert pacer.hold_s(REFUSED, "t1", "10.0.0.1", 0.0) > 0
    assert pacer.hold_s(REFUSED, "t2", "10.0.0.1", 0.0) == 0
    assert pacer.hold_s(NOBODY, None, "10.0.0.1", 0.0) > 0
    assert pacer.hold_s(NOBODY, None, "10.0.0.2", 0.0) == 0
    assert pacer.hold_s(InvalidInput("x"), "t1", "10.0.0.1", 0.0) == 0


def test_what_is_known_of_callers_is_bounded(monkeypatch):
    monkeypatch.setattr(pacing, "MOST_KNOWN", 3)
    pacer = Pacer()
    for number in range(10):
        pacer.hold_s(NOBODY, None, f"10.0.0.{number}", 0.0)
    assert len(pacer._buckets) == 3


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_an_address_stands_for_what_one_caller_owns(peer, network):
    assert network_of(peer) == network
