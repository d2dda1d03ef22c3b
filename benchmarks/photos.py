"""Real photos out of Debian and PyPI packages, fetched once, and who may learn from which.

Photos are held out whole: a split's grounds are of photos that no other split has. They show
landscapes, animals, things, textures, the sky, and what a microscope sees. Drawings and abstract
pictures of the same packages are left out, and so are photos of people, shoes or clothes: objects
of their own that no box tells would be counted as wrongly found.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.weights import FETCH_TIMEOUT_S, FetchError, cache_folder

DEBIAN = {
    "darknet": ("dog.jpg", "eagle.jpg", "giraffe.jpg", "horses.jpg"),
    "lomiri-wallpapers-16.04": (
        "Bridge_by_Sander_Klootwijk.jpg", "Dragonfly_by_Bolly.jpg", "Picture_0B_by_freespace.jpg",
        "Picture_1A_by_freespace.jpg", "Wine_by_Jakkub_Mede.jpg",
        "aitzgorri_by_Aitzol_Berasategi.jpg", "free_by_Peter_Nerlich.jpg",
        "friends_by_Aitzol_Berasategi.jpg", "greentock_by_Peter_Nerlich.jpg",
        "life_by_Aitzol_Berasategi.jpg", "picosdeeuropa_by_Aitzol_Berasategi.jpg",
        "seeding_by_Clements_Engelhardt.jpg", "sunset_by_Aitzol_Berasategi.jpg",
    ),
    "mate-backgrounds": (
        "Aqua.jpg", "Blinds.jpg", "Dune.jpg", "FreshFlower.jpg", "Garden.jpg", "GreenMeadow.jpg",
        "LadyBird.jpg", "RainDrops.jpg", "Storm.jpg", "TwoWings.jpg", "Wood.jpg",
        "YellowFlower.jpg",
    ),
    "palapeli-data": (
        "castle-maintenon.jpg", "cincinnati-bridge.jpg", "citrus-fruits.jpg",
        "european-honey-bee.jpg", "panther-chameleon-female.jpg",
    ),
}  # fmt: skip
"""Photos of each package, by their files' names."""
WHEELS = {
    "foolbox==3.3.4": tuple(f"imagenet_{at:02}_*.jpg" for at in range(20) if at not in (0, 2, 11)),
    "scikit-image==0.26.0": (
        "brick.png", "cell.png", "chelsea.png", "coffee.png",
        "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
        "motorcycle_left.png", "retina.jpg", "rocket.jpg",
    ),
    "scikit-learn==1.9.1": ("china.jpg", "flower.jpg"),
}  # fmt: skip
SIDE = 480
"""The shorter side of a photo, so that pieces of a hundred pixels show something of large ones."""


def photos() -> dict[str, Image.Image]:
    """All photos by name, each `package/file`, in the order of their names.

    Raises:
        FetchError: a package is not here yet and cannot be fetched.
    """
    files = [
        *(file for package, names in DEBIAN.items() for file in _files(package, names)),
        *(file for package, names in WHEELS.items() for file in _files(package, names)),
    ]
    return {f"{file.parent.name}/{file.name}": _opened(file) for file in sorted(files)}


def of_split(split: str, names: Sequence[str]) -> list[str]:
    """Those of the names that a split may use: of eight in order, one to validate, two to test."""
    places = {"validation": (3,), "test": (1, 5)}.get(split, (0, 2, 4, 6, 7))
    return [name for at, name in enumerate(sorted(names)) if at % 8 in places]


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as photo:
        photo.draft("RGB", (2 * SIDE, 2 * SIDE))  # of a JPEG no more is decoded than is needed
        share = min(1.0, SIDE / min(photo.size))
        sides = round(photo.width * share), round(photo.height * share)
        return photo.convert("RGB").resize(sides, Image.Resampling.LANCZOS)


def _files(package: str, patterns: Sequence[str]) -> list[Path]:
    """The photos of a package that are kept here."""
    kept = cache_folder().parent / "photos" / package.partition("=")[0]
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as made:
            folder = Path(made)
            _fetch(package, folder)
            chosen = folder / "chosen"
            chosen.mkdir()
            for pattern in patterns:
                for file in _found(folder / "unpacked", pattern, package):
                    shutil.copyfile(file, chosen / file.name)
            chosen.rename(kept)
    return [file for pattern in patterns for file in kept.glob(pattern)]


def _found(folder: Path, pattern: str, package: str) -> list[Path]:
    found = sorted(folder.rglob(pattern))
    if not found:
        raise FetchError(f"The package {package} has no {pattern} any more.")
    return found


def _fetch(package: str, folder: Path) -> None:
    """Unpack a Debian package, or a wheel (`name==version`), into `folder / "unpacked"`."""
    is_wheel = "==" in package
    command = ["apt-get", "download", package]
    if is_wheel:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", package]
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, timeout=FETCH_TIMEOUT_S
        )
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        told = said.decode(errors="replace")[-300:]
        raise FetchError(f"The package {package} cannot be fetched: {told}") from None
    (archive,) = folder.glob("*.whl" if is_wheel else "*.deb")
    if is_wheel:
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder / "unpacked")
    else:
        subprocess.run(["dpkg-deb", "-x", archive, folder / "unpacked"], check=True)
