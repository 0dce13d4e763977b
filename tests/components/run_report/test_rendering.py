import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.run_report.rendering import render_html
from components.run_report.report import Epoch, Report, StepCost
from tests.support.html_page import Parsed
from tests.support.reports import empty_report, full_report, make_data, make_evaluation, make_gate
from tests.support.web_page import DESKTOP, Page, running_browser

_MAX_BYTES = 3_000_000
HOSTILE = "<b>\"&'$x$|日本"
LONG = "Staffordshire bull terrier of the northern counties, adult, in its winter coat"
MANY = [f"{LONG if index % 2 else HOSTILE} {index:02d}" for index in range(100)]


def parse(report: Report) -> Parsed:
    return Parsed(render_html(report))


def test_tables_have_the_numbers_of_the_report() -> None:
    rows = parse(full_report()).rows
    accuracy = ["all", "10,012", "99.66 %", "98.55 to 99.88", "99.99 %", "−0.33", "−1.23 to +0.57"]
    assert accuracy in rows["Classes"]
    assert ["0", "900", "99.00 %", "97.89 to 99.22", "99.33 %", "−0.33", "−1.23 to +0.57"] in rows["Classes"]
    assert ["0", "800", "21", "", "1"] in rows["Classes"]
    assert ["2", "23", "", "802", ""] in rows["Classes"]
    assert ["1", "5,002", "402"] in rows["Data"]
    assert ["all", "15,006", "1,206"] in rows["Data"]
    statistics = ["15,123", "11", "33.1234", "11.2345", "1.5432", "32.7654", "98.8765"]
    assert ["brightness_mean", "train", *statistics] in rows["Data"]
    assert ["ink_center_x", "far from the center"] in rows["Data"]
    assert ["2", "0.7651", "0.5432", "95.21 %", "97.65 %"] in rows["Training"]
    assert ["0.0123", "48", "0.0321"] in rows["Training"]
    assert ["50.00 to 100.00 %", "9,876", "99.12 %", "99.34 %"] in rows["Calibration"]
    assert ["fog", "1,004", "98.81 %", "97.70 to 99.03", "99.14 %", "−0.33", "−1.23 to +0.57"] in rows["Robustness"]
    gate = ["accuracy", "all", "0.9917", "0.9887 to 0.9942", "≥ 0.9800", "0.9931", "evaluation.min_accuracy"]
    assert rows["Gates"].count(gate) == 2
    assert ["serving_default", "1.3919", "2.8639"] in rows["Latency"]
    assert ["Trainer", "2 min 21 s", "2.7 GiB"] in rows["Time and memory"]
    assert ["Pusher", "0.9 s", ""] in rows["Time and memory"]
    assert ["trainer.epochs", "7", "15"] in rows["Settings"]
    assert ["Trainer", "Model", "/workspace/pipeline_root/Trainer/model/8"] in rows["Lineage"]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for each in value:
            yield from leaves(each, path)
    else:
        yield path, value


@pytest.mark.parametrize("classes", [["0", "1", "2"], [f"class {index}" for index in range(30)]])
def test_no_number_or_name_is_left_out(classes: list[str]) -> None:
    """Except bins of plots, zeros of the confusion matrix, and its diagonal, which many classes show as a plot."""
    report = full_report(classes)
    diagonal = {report.evaluation.confusion[i][i] for i in range(len(classes))} if report.evaluation else set()
    text = parse(report).text
    shown = set(re.findall(r"[+−]?[\d,]*\.?\d+", text))
    exceptions = re.compile(r"\.(histograms|samples|created)|\.(image|enforced|passed|advice)$|\.bound$")
    checked = 0
    for path, value in leaves(report.model_dump()):
        is_plotted = len(classes) > 20 and path == ".evaluation.confusion" and value in diagonal
        if value is None or isinstance(value, bool) or exceptions.search(path) or is_plotted:
            continue
        checked += 1
        if isinstance(value, str):
            assert value in text or path == ".outcome", path
        elif value and path not in (".data.image_shape", ".steps.seconds", ".steps.peak_bytes"):
            forms = {f"{value:,.0f}", f"{value}", f"{value:.4f}", f"{100 * value:.2f}", f"{100 * value:+.2f}"}
            assert {form.replace("-", "−") for form in forms} & shown, (path, value)
    assert checked > 150


def test_a_class_without_images_is_not_the_weakest() -> None:
    evaluation = make_evaluation(["0", "1", "2"])
    unseen = evaluation.classes[0].model_copy(update={"images": 0, "accuracy": 0.0, "interval": (0.0, 1.0)})
    page = parse(empty_report(evaluation=evaluation.model_copy(update={"classes": (unseen, *evaluation.classes[1:])})))
    assert "class 2" in page.text
    assert ["0", "0", "", ""] in [row[:4] for row in page.rows["Classes"]]


def test_a_run_that_diverged_has_a_report() -> None:
    epochs = (Epoch(loss=math.nan, accuracy=0.1, eval_loss=math.inf, eval_accuracy=0.1),)
    assert ["1", "nan", "inf", "10.00 %", "10.00 %"] in parse(empty_report(epochs=epochs)).rows["Training"]


def test_the_headline_says_what_happened_and_why() -> None:
    pushed = parse(full_report()).text
    assert "Pushed as version 1795828339" in pushed
    assert ", from version 1795741201" in pushed
    assert "digits lineage 1795828339 --model digits" in pushed
    gates = (make_gate("Evaluator", passed=False), make_gate("DataGate", passed=False, enforced=False))
    refused = parse(full_report(outcome="refused", version=None, gates=gates, reasons=("Evaluator: low.",)))
    assert "Refused by Evaluator" in refused.text
    assert "digits lineage" not in refused.text
    assert "Evaluator: low." in refused.text
    assert "Switched off, so without effect: DataGate" in refused.text
    accepted = make_gate("Evaluator").model_copy(update={"accepted": ("all: upside down",)})
    assert "Accepted by a person: Evaluator, all: upside down." in parse(full_report(gates=(accepted,))).text
    assert ["recall", "class 2", "0.8765", "≥ 0.9700", "low"] in refused.rows["Gates"], "without empty columns"
    assert "Train longer." in refused.text
    assert "Not finished" in parse(empty_report(outcome="unfinished")).text


def test_absent_parts_are_left_out_and_missing_ones_named() -> None:
    page = parse(empty_report(missing=("Data: MnistExampleGen did not finish.",)))
    assert "Data: MnistExampleGen did not finish." in page.text
    assert not {"table", "svg", "section", "nav", "dl"} & page.used
    for name in ("data", "evaluation", "epochs", "robustness", "gates", "latencies", "steps", "sources", "packages"):
        parse(full_report(**{name: Report.model_fields[name].default}))
    parse(full_report(steps=(StepCost(name="Pusher", seconds=0),), baseline_version=None))
    without_predictions = {"confusion": (), "calibration": (), "mistakes": ()}
    for classes in (("0", "1"), MANY):
        page = parse(full_report(classes, evaluation=make_evaluation(classes).model_copy(update=without_predictions)))
        assert "Classes" in page.text
        assert "Confusion matrix" not in page.text
        assert not {"calibration", "mistakes"} & set(page.ids)


@pytest.mark.parametrize("classes", [("0", "1"), MANY])
def test_the_page_needs_no_other_file(classes: list[str]) -> None:
    html = render_html(full_report(classes))
    page = Parsed(html)
    assert len(html.encode()) < _MAX_BYTES
    assert [link for link in page.links if not link.startswith(("#", "data:"))] == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert re.findall(r"url\((?!#)[^)]*\)|@import|<script", html) == []
    assert len(page.ids) == len(set(page.ids))


def test_user_data_is_escaped() -> None:
    report = full_report(
        [HOSTILE, "</style>", "</table>"],
        reasons=("<i>reason",),
        data=make_data([HOSTILE]).model_copy(update={"uri": "https://x/?a=1&b=<b>"}),
    )
    page = parse(report)
    assert not {"b>", "i", "script"} & page.used
    assert f"{HOSTILE}" in page.text
    assert "https://x/?a=1&b=<b>" in page.text
    assert "<i>reason" in page.text


def test_pictures_and_plots_are_described() -> None:
    page = parse(full_report())
    assert [image["alt"] for image in page.images] == ["0", "0", "1", "1", "2", "2", "Picture of 0", "Picture of 1"]
    assert len(page.plots) == 6
    assert "Accuracy by epoch; at the end 95.21 % on train, 97.65 % on eval" in page.plots


def test_the_same_report_gives_the_same_page() -> None:
    report = full_report()
    assert render_html(report) == render_html(report)


def test_rendering_imports_neither_tensorflow_nor_pyplot() -> None:
    heavy = {"tensorflow", "tfx", "matplotlib.pyplot"}
    code = f"import sys, components.run_report.rendering; print({heavy} & set(sys.modules))"
    root = Path(__file__).parents[3]
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=root).strip() == "set()"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Opens a report in Chromium."""
    with running_browser() as browser:

        def open_report(report: Report) -> Page:
            file = tmp_path_factory.mktemp("report") / "report.html"
            file.write_text(render_html(report), encoding="utf-8")
            page = Page(browser, file.as_uri())
            page.resize(*DESKTOP)
            page.set_theme("light")
            page.open()
            return page

        yield open_report


REPORTS = {
    "few": full_report(),
    "many": full_report(MANY, data=make_data(MANY, (224, 224, 3))),
    "wide": full_report([f"{LONG} {index}" for index in range(20)]),
    "empty": empty_report(missing=("Everything.",)),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_phone_need_not_scroll_sideways(opened: Any, name: str) -> None:
    page = opened(REPORTS[name])
    for width in (400, 1280):
        page.resize(width, 900)
        assert page.overflow() == 0, width


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_enough_contrast(opened: Any, theme: str) -> None:
    page = opened(full_report(missing=("Trials.",), gates=(make_gate("A"), make_gate("B", passed=False))))
    page.set_theme(theme)
    page.browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    contrasts = page.text_contrasts()
    assert len(contrasts) > 200
    assert [(text, round(ratio, 2)) for text, ratio in contrasts if ratio < 4.5] == []


def test_dark_differs_from_light_and_paper_is_white(opened: Any) -> None:
    page = opened(REPORTS["few"])
    ground = "return getComputedStyle(document.body).backgroundColor"
    plot = "return getComputedStyle(document.querySelector('svg text')).fill"
    light = page.browser.execute_script(ground), page.browser.execute_script(plot)
    page.set_theme("dark")
    dark = page.browser.execute_script(ground), page.browser.execute_script(plot)
    assert not set(light) & set(dark)
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.browser.execute_script(ground) == "rgb(255, 255, 255)"
    table = "return document.querySelector('details table').checkVisibility({contentVisibilityAuto: true})"
    assert page.browser.execute_script(table), "paper cannot be unfolded"
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_browser_loads_nothing_else(opened: Any) -> None:
    page = opened(REPORTS["few"])
    assert [url for url in page.requested_urls() if not url.startswith(("data:", "file:"))] == []
    assert page.console_errors() == []
