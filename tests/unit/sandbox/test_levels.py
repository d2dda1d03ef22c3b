"""The level that measures add up to."""

from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.sandbox import Measure, SandboxLevel, SandboxReport

ALL = dict.fromkeys(Measure, "as tested")
MEASURES = st.frozensets(st.sampled_from(Measure))
BASIC = {Measure.PRIVILEGES, Measure.UNDUMPABLE, Measure.RESOURCES, Measure.SYSTEM_CALLS}


def report(measures):
    return SandboxReport(
        dict.fromkeys(measures, "as tested"),
        {one: "the reason" for one in Measure if one not in measures},
    )


@given(MEASURES, st.sampled_from(Measure))
def test_one_more_measure_never_lowers_the_level(measures, more):
    assert report(measures | {more}).level.rank >= report(measures).level.rank


@given(MEASURES, st.sampled_from(SandboxLevel))
def test_a_shortfall_is_told_exactly_below_the_level(measures, wanted):
    found = report(measures)
    shortfall = found.shortfall(wanted)
    assert (shortfall is None) == (found.level.rank >= wanted.rank)
    if shortfall:
        assert "the reason" in shortfall
        told = {Measure(part.split(":")[0]) for part in shortfall.split("; ")}
        assert not told & measures
        assert report(measures | told).level.rank >= wanted.rank


@given(MEASURES)
def test_a_report_survives_the_wire(measures):
    assert SandboxReport.from_wire(report(measures).to_wire()) == report(measures)


def test_a_report_from_elsewhere_may_name_measures_that_are_not_known_here():
    found = SandboxReport.from_wire({"level": "strict", "in_force": {"moat": "wet"}})
    assert found.level is SandboxLevel.NONE


def test_either_wall_before_files_isolates_and_both_are_strict():
    assert report(BASIC).level is SandboxLevel.BASIC
    assert report(BASIC | {Measure.FILES}).level is SandboxLevel.ISOLATED
    assert report(BASIC | {Measure.TREE}).level is SandboxLevel.ISOLATED
    assert report(BASIC - {Measure.SYSTEM_CALLS} | {Measure.FILES}).level is SandboxLevel.NONE
    assert SandboxReport(ALL).level is SandboxLevel.STRICT
