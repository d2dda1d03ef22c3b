from modelry.domain import errors
from modelry.protocols.http.errors import undocumented_codes


def test_every_error_code_has_a_status():
    assert undocumented_codes() == set()


def test_the_tree_at_the_top_is_complete():
    drawn = errors.__doc__ or ""
    for cls in errors.ERRORS_BY_CODE.values():
        assert cls.__name__ in drawn


def test_codes_are_unique():
    classes = set()

    def walk(cls):
        if cls.__module__.startswith("modelry.domain."):  # tests define some of their own
            classes.add(cls)
        for child in cls.__subclasses__():
            walk(child)

    walk(errors.ModelryError)
    assert len({cls.code for cls in classes}) == len(classes)
