import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.evaluator.comparison import PairedAccuracy, PredictionComparison
from pipeline.local.comparison import RunComparison
from pipeline.local.comparison_page import render_comparison
from tests.support.comparisons import COMPARISON, FIRST, PREDICTIONS, SECOND
from tests.support.html_page import Parsed
from tests.support.web_page import DESKTOP, Page, running_browser

HOSTILE = "<b>\"&'$x$|日本"
MANY = replace(
    COMPARISON,
    predictions=replace(
        PREDICTIONS,
        classes={f"{HOSTILE} {i}": PairedAccuracy(10, 0.5, 0.5 + i / 200, i / 200, (0.0, 0.1)) for i in range(100)},
    ),
)
EMPTY = replace(COMPARISON, data=(None, None), settings={}, software={}, metrics=(), predictions=None)


def parse(comparison: RunComparison) -> Parsed:
    return Parsed(render_comparison(comparison))


def test_the_page_says_what_differs() -> None:
    page = parse(COMPARISON)
    assert page.rows["Runs"] == [
        ["", "First", "Second"],
        ["Run", FIRST.run_id, SECOND.run_id],
        ["Outcome", "pushed", "refused"],
        ["Version", "17", ""],
        ["Test accuracy", "99.25 %", "98.00 %"],
        ["Data", "data/{SPAN}", ""],
        ["Span", "3", ""],
        ["Fingerprint", "0123456789ab", ""],
        ["Train images", "5000", "4000"],
    ]
    assert ["trainer.epochs", "7", "not set"] in page.rows["Settings"]
    assert ["revision", "abc", "def-dirty"] in page.rows["Software"]
    assert page.rows["Classes"][1:] == [
        ["all", "900", "99.00 %", "98.00 %", "−1.00", "−2.00 to −0.50", "worse"],
        ["7", "90", "90.00 %", "95.00 %", "+5.00", "+1.00 to +9.00", "better"],
        ["8", "10", "90.00 %", "60.00 %", "−30.00", "−70.00 to +10.00", ""],
    ]
    assert ["fog", "80", "50.00 %", "50.00 %", "+0.00", "−10.00 to +10.00", ""] in page.rows["Robustness"]
    assert ["DataGate", "skew", "test", "ink", "0.0100", "0.0200"] in page.rows["Gates"]
    assert ["Evaluator", "recall", "class 8", "", "0.9000", "0.6000 refused"] in page.rows["Gates"]
    assert ["RobustnessEvaluator", "accuracy", "mean of 15", "", "0.9700", "0.9700"] in page.rows["Gates"]
    assert "The second run is less accurate" in page.text
    assert "1 better, 0 worse" in page.text
    assert "left out: 3 of the first run, 4 of the second" in page.text
    assert "nothing of note." in page.text
    assert len(page.plots) == 2


@pytest.mark.parametrize(
    ("interval", "headline"),
    [
        ((0.01, 0.02), "The second run is more accurate"),
        ((-0.02, -0.01), "The second run is less accurate"),
        ((0.0, 0.02), "No clear difference in accuracy"),
    ],
)
def test_the_headline_is_what_the_interval_shows(interval: tuple[float, float], headline: str) -> None:
    predictions = replace(PREDICTIONS, overall=PairedAccuracy(9, 0.5, 0.5, 0.0, interval))
    assert headline in parse(replace(COMPARISON, predictions=predictions)).text


def test_absent_parts_are_left_out() -> None:
    page = parse(EMPTY)
    assert set(page.rows) == {"Runs"}
    assert not {"svg", "nav", "dl"} & page.used
    nothing = PredictionComparison(None, {}, {}, (10, 20), (0, 0))
    page = parse(replace(COMPARISON, predictions=nothing))
    assert "no test images in common. Left out: 10 images of the first run, 20 images of the second" in page.text


def test_of_many_classes_the_largest_changes_come_first() -> None:
    rows = parse(MANY).rows["Classes"]
    assert [row[0] for row in rows if row[0].startswith("<")] == [f"{HOSTILE} {i}" for i in reversed(range(100))]


@pytest.mark.parametrize("comparison", [COMPARISON, MANY, EMPTY])
def test_the_page_needs_no_other_file(comparison: RunComparison) -> None:
    html = render_comparison(comparison)
    page = Parsed(html)
    assert len(html.encode()) < 3_000_000
    assert [link for link in page.links if not link.startswith(("#", "data:"))] == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert re.findall(r"url\((?!#)[^)]*\)|@import|<script", html) == []
    assert len(page.ids) == len(set(page.ids))
    assert html == render_comparison(comparison)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Opens a comparison in Chromium."""
    with running_browser() as browser:

        def open_page(comparison: RunComparison) -> Page:
            file: Path = tmp_path_factory.mktemp("comparison") / "comparison.html"
            file.write_text(render_comparison(comparison), encoding="utf-8")
            page = Page(browser, file.as_uri())
            page.resize(*DESKTOP)
            page.open()
            return page

        yield open_page


@pytest.mark.parametrize("comparison", [COMPARISON, MANY])
def test_a_phone_need_not_scroll_sideways(opened: Any, comparison: RunComparison) -> None:
    page = opened(comparison)
    for width in (400, 1280):
        page.resize(width, 900)
        assert page.overflow() == 0, width


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_enough_contrast(opened: Any, theme: str) -> None:
    page = opened(COMPARISON)
    page.set_theme(theme)
    page.browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    contrasts = page.text_contrasts()
    assert len(contrasts) > 100
    assert [(text, round(ratio, 2)) for text, ratio in contrasts if ratio < 4.5] == []
