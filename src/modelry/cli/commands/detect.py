"""`modelry detect`: what is where in an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output, table
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.operations.typed_tasks import Detections

COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2")


def detect(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A deployment.", show_default=False)],
    images: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, help="Image files.", show_default=False),
    ],
    *,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out what is less sure.")
    ] = None,
    max_objects: Annotated[
        int | None, typer.Option(min=1, help="Tell at most so many per image.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Draw the boxes into this .png file; for one image."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find objects in images; boxes are left, top, right, bottom in pixels."""
    if save is not None and len(images) != 1:
        raise usage_error("give one image to draw into.", "--save")
    with client_of(context) as client:
        results = [
            client.detect(model, one, min_score=min_score, max_objects=max_objects)
            for one in images
        ]
    if save is not None:
        draw(images[0], results[0], save)
    told = [
        {"input": str(image), "objects": one.objects, "width": one.width, "height": one.height}
        for image, one in zip(images, results, strict=True)
    ]
    output = Output(as_json)
    output.result({"model": model, "results": told}, lambda: _show(output, images, results))


def draw(image: Path, found: Detections, target: Path) -> None:
    """Write a copy of `image` with a box and a word for each object."""
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    with Image.open(image) as opened:
        canvas = ImageOps.exif_transpose(opened).convert("RGB")
    pen = ImageDraw.Draw(canvas)
    width = max(2, min(canvas.size) // 400)
    height = max(12, min(canvas.size) // 60)
    font = ImageFont.load_default(height)
    for one in found.objects:
        colour = COLOURS[one.index % len(COLOURS)]
        left, top, right, bottom = one.box
        pen.rectangle((left, top, right, bottom), outline=colour, width=width)
        word = f" {one.label} {one.score:.0%} "
        place = (left, max(0, top - height - 4))
        pen.rectangle(pen.textbbox(place, word, font), fill=colour)
        pen.text(place, word, "white", font)
    canvas.save(target, format="PNG")


def _show(output: Output, images: list[Path], results: list[Detections]) -> None:
    for image, result in zip(images, results, strict=True):
        output.say(f"{image}, {result.width} x {result.height} pixels:")
        rows = [
            (f"{one.score:.1%}", one.label, *(f"{edge:.0f}" for edge in one.box))
            for one in result.objects
        ]
        columns = ("SCORE>", "LABEL", "LEFT>", "TOP>", "RIGHT>", "BOTTOM>")
        table(columns, rows, empty="Nothing was found.")
