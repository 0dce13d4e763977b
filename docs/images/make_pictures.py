"""Takes the pictures in README, of the drawing page and of a report, from the newest model and run in Chromium.

`.venv/bin/python -m docs.images.make_pictures` in the project root, after `make run`.
"""

import io
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from PIL import Image
from selenium import webdriver

from tests.support.serve_process import digits_serve
from tests.support.web_page import Page, running_browser

STROKES = Path("data") / "samples" / "strokes.json"
DRAWING_PAGE_SIZE = (984, 750)
REPORT_SIZE = (984, 960)


@click.command()
@click.option("--workspace", type=click.Path(path_type=Path, exists=True), default="workspace", show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default="docs/images", show_default=True)
def main(workspace: Path, folder: Path) -> None:
    """Take the pictures of README."""
    try:
        with running_browser() as browser:
            browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            take_drawing_page(browser, workspace, folder / "drawing-page.png")
            take_report(browser, workspace, folder / "report.png")
    except pytest.skip.Exception as error:
        raise click.ClickException(str(error)) from error


def take_drawing_page(browser: webdriver.Chrome, workspace: Path, file: Path) -> None:
    """Draws a 3 on the page of `digits serve`."""
    (strokes,) = [
        sample["strokes"]
        for sample in json.loads(STROKES.read_text(encoding="utf-8"))
        if (sample["digit"], sample["variant"]) == (3, "a")
    ]
    with digits_serve(workspace) as server:
        page = Page(browser, server.address("Web page"))
        page.set_theme("light")
        page.resize(*DRAWING_PAGE_SIZE)
        page.open()
        page.wait_for_model()
        page.draw(strokes)
        page.wait_for_label("3")
        page.last_answer()
        save_screenshot(browser, file)


def take_report(browser: webdriver.Chrome, workspace: Path, file: Path) -> None:
    """Opens the report of the newest run."""
    command = [sys.executable, "-m", "pipeline.cli.main", "report", "--workspace", str(workspace), "--json"]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["html"]
    page = Page(browser, Path(report).as_uri())
    page.resize(*REPORT_SIZE)
    page.open()
    save_screenshot(browser, file)


def save_screenshot(browser: webdriver.Chrome, file: Path) -> None:
    """Saves the visible part of the page, with at most 256 colors."""
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    picture.quantize(256).save(file, optimize=True)
    click.echo(f"{file}: {picture.width}x{picture.height}, {file.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
