"""The `digits verify-data` command."""

import click

from pipeline.cli.options import json_option, print_json, print_table


@click.command("verify-data")
@click.argument("uri")
@click.option("--span", type=click.IntRange(min=0), help="Span to read if the URI has {SPAN}.  [default: the newest]")
@json_option
def verify_data(uri: str, span: int | None, as_json: bool) -> None:
    """Read and check all data at URI; report its contents or the first error."""
    from components.example_gen.sources.detection import open_source, resolve_span
    from components.example_gen.sources.source import fingerprint, verify
    from components.features import NUM_CLASSES

    found_uri, found_span = resolve_span(uri, span)
    source = open_source(found_uri)
    summary, sha256 = verify(source), fingerprint(source)
    if as_json:
        identity = {"uri": found_uri, "span": found_span, "format": source.format, "files": source.files}
        print_json({**identity, "fingerprint": sha256, **vars(summary)})
        return
    click.echo(f"{found_uri}: {source.format}, {len(source.files)} file(s), nothing wrong")
    click.echo(f"pixels {summary.min_pixel} to {summary.max_pixel}, SHA-256 {sha256}\n")
    parts = summary.counts.values()
    rows = [(str(digit), *(str(counts[digit]) for counts in parts)) for digit in range(NUM_CLASSES)]
    print_table(("digit", *summary.counts), [*rows, ("all", *(str(sum(counts)) for counts in parts))])
