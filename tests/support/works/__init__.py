"""Installs works and a recipe for tests, as a package of somebody else."""

from __future__ import annotations

import shutil
from pathlib import Path


def install_works(folder: Path) -> None:
    """Make `folder` hold the installed package; it belongs on the PYTHONPATH of the works."""
    information = folder / "works_for_tests-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: works-for-tests\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text(
        "[modelry.works]\n"
        "contract = modelry.testing.works_suite:ContractWork\n"
        "rogue = rogue_work:RogueWork\n"
        "[modelry.recipes]\n"
        "steady = steady_recipe:SteadyRecipe\n"
    )
    for name in ("rogue_work.py", "steady_recipe.py"):
        shutil.copy(Path(__file__).with_name(name), folder)
