"""The `digits verify-data` command."""

from collections import Counter
from collections.abc import Sequence

import click

from pipeline.cli.options import json_option, print_json, print_table, quiet_libraries


@click.command("verify-data")
@click.argument("uri")
@click.option("--span", type=click.IntRange(min=0), help="Span to read if the URI has {SPAN}.  [default: the newest]")
@json_option
def verify_data(uri: str, span: int | None, as_json: bool) -> None:
    """Read and check all data at URI; report its contents or the first error."""
    # TensorFlow reports its start, and what is wrong with an image.
    with quiet_libraries():
        from components.example_gen.sources.detection import open_source, resolve_span
        from components.example_gen.sources.source import fingerprint
        from pipeline.settings.survey import survey_data

        found_uri, found_span = resolve_span(uri, span)
        source = open_source(found_uri)
        survey, sha256 = survey_data(source, found_uri), fingerprint(source)
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
            }
        )
        return
    described = f"{_describe_sizes(sizes)}, {_describe_color(num_color, survey.num_images)}"
    click.echo(f"{found_uri}: {source.format}, {len(source.files)} file(s), nothing wrong")
    for assumption in survey.assumptions:
        click.echo(f"Assumed: {assumption}")
    click.echo(f"{survey.num_images} images, {described}")
    click.echo(f"SHA-256 {sha256}\n")
    rows = [(name, *(str(of_origin[name]) for of_origin in counts.values())) for name in survey.classes]
    total = ("all", *(str(sum(of_origin.values())) for of_origin in counts.values()))
    print_table(("class", *counts), [*rows, total])


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
