"""The `digits verify-data` command."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.options import (
    EXIT_REFUSED,
    config_option,
    json_option,
    print_json,
    print_table,
    profile_option,
    quiet_libraries,
    settings_from_options,
    workspace_option,
)

_ADVICE = "Fix the data. If it is right, change the setting or the schema, or pass the --config of its model."


@click.command("verify-data")
@click.argument("uri")
@click.option("--span", type=click.IntRange(min=0), help="Span to read if the URI has {SPAN}.  [default: the newest]")
@workspace_option
@config_option
@profile_option
@json_option
def verify_data(
    uri: str, span: int | None, workspace: str | None, config: Path | None, profile: str | None, as_json: bool
) -> None:
    """Read and check all data at URI; report its contents or the first error.

    The rules of DataGate judge the content: of --config or --workspace, or of the model in production, if the data has
    its classes and image size. Without any, images must not be blank, and digits not inverted.
    """
    settings = settings_from_options(config, workspace=workspace, profile=profile)
    # TensorFlow reports its start, and what is wrong with an image.
    with quiet_libraries():
        from components.data_gate.shares import HEADINGS
        from components.example_gen.sources.detection import open_source, resolve_span
        from components.example_gen.sources.source import fingerprint
        from components.verdict import Verdict, render_findings
        from pipeline.settings.judgment import fits, judge_data, judge_images, judge_with_model
        from pipeline.settings.settings import DEFAULT_FILE, load_contract
        from pipeline.settings.survey import survey_data
        from registry.versions import list_versions

        contract = load_contract(settings)
        found_uri, found_span = resolve_span(uri, span)
        source = open_source(found_uri)
        survey = survey_data(source, found_uri, with_ink_in_alpha=settings.trainer.preparation == "ink")
        sha256 = fingerprint(source)
        is_model_given = bool(config or workspace or DEFAULT_FILE.exists())
        is_in_production = bool(list_versions(settings.serving_directory)) and fits(survey, contract)
        if is_model_given or is_in_production:
            findings = judge_data(survey, settings, contract) + judge_with_model(source, survey, settings, contract)
        else:
            findings = judge_images(survey, settings, contract)
        verdict = Verdict("DataGate", tuple(findings), _ADVICE, HEADINGS, settings.data_gate.enforced)
    origins = dict.fromkeys(origin for origin, _ in survey.counts)
    counts = {origin: {name: survey.counts.get((origin, name), 0) for name in survey.classes} for origin in origins}
    sizes = sorted(Counter(map(tuple, survey.sizes.tolist())).items())
    num_color = int((survey.summaries["channels"] > 1).sum())
    if as_json:
        print_json(
            {
                "uri": found_uri,
                "span": found_span,
                "format": source.format,
                "files": source.files,
                "assumptions": survey.assumptions,
                "fingerprint": sha256,
                "counts": counts,
                "sizes": [{"height": height, "width": width, "images": count} for (height, width), count in sizes],
                "num_color": num_color,
                "refusals": [{**asdict(finding), "bound": finding.bound} for finding in verdict.refusals],
            }
        )
        sys.exit(0 if verdict.passed else EXIT_REFUSED)
    described = f"{_describe_sizes(sizes)}, {_describe_color(num_color, survey.num_images)}"
    click.echo(
        f"{found_uri}: {source.format}, {len(source.files)} file(s), {'nothing wrong' if verdict.passed else 'refused'}"
    )
    for assumption in survey.assumptions:
        click.echo(f"Assumed: {assumption}")
    click.echo(f"{survey.num_images} images, {described}")
    click.echo(f"SHA-256 {sha256}\n")
    rows = [(name, *(str(of_origin[name]) for of_origin in counts.values())) for name in survey.classes]
    total = ("all", *(str(sum(of_origin.values())) for of_origin in counts.values()))
    print_table(("class", *counts), [*rows, total])
    if not verdict.passed:
        click.echo(f"\n{render_findings(verdict.refusals, verdict.headings)}\n{verdict.advice}")
        sys.exit(EXIT_REFUSED)


def _describe_sizes(sizes: Sequence[tuple[tuple[int, ...], int]]) -> str:
    (height, width), _ = sizes[0]
    if len(sizes) == 1:
        return f"{height} x {width} pixels (height x width)"
    heights, widths = zip(*(size for size, _ in sizes), strict=True)
    return f"{len(sizes)} sizes, {min(heights)} to {max(heights)} pixels high and {min(widths)} to {max(widths)} wide"


def _describe_color(num_color: int, num_images: int) -> str:
    if num_color in (0, num_images):
        return "color" if num_color else "gray"
    return f"{num_color} in color and {num_images - num_color} gray"
