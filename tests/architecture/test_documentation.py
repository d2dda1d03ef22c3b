"""The documentation cannot drift: what is generated is current, what is named exists."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
reference = runpy.run_path(str(ROOT / "tools" / "reference.py"))


@pytest.mark.parametrize("name", sorted(reference["PAGES"]))
def test_reference_pages_are_current(name):
    written = (ROOT / "docs" / "reference" / name).read_text()
    assert written == reference["PAGES"][name](), "run `make docs`"


def test_architecture_names_every_package_and_no_other():
    package = ROOT / "src" / "modelry"
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"^\| `([\w/]+)/` \|", text, re.MULTILINE))
    missing = {
        folder.parent.relative_to(package).as_posix()
        for folder in package.rglob("__init__.py")
        if folder.parent != package
    }
    top_or_door = {
        path
        for path in missing
        if path.count("/") == 0 or path.split("/")[0] in ("protocols", "adapters", "services")
        if path.count("/") <= 1
    }
    groups = {"protocols", "adapters", "services"}
    assert top_or_door - groups - named == set()
    assert {path for path in named if not (package / path).is_dir()} == set()


def test_every_package_says_what_it_owns():
    for init in (ROOT / "src" / "modelry").rglob("__init__.py"):
        assert init.read_text().lstrip().startswith('"""'), init


def test_no_file_is_too_long():
    sources = (ROOT / "src").rglob("*.py")
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources
        if "generated" not in path.parts and (lines := path.read_text().count("\n")) > 600
    }
    assert long == {}


def test_links_between_documents_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_threat_model_names_tests_that_exist():
    text = (ROOT / "docs" / "threat-model.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert named
    for path, test in named:
        source = (ROOT / path).read_text()
        assert not test or re.search(rf"def {test}\(", source), f"{path}::{test}"
