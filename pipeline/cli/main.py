"""The `digits` command group; commands import heavy libraries when they run."""

from difflib import get_close_matches
from typing import Any

import click

from pipeline.cli.compile import compile_pipeline
from pipeline.cli.deploy import deploy
from pipeline.cli.encoding import show_text_in_any_encoding
from pipeline.cli.lineage import lineage
from pipeline.cli.new import new
from pipeline.cli.options import errors_to_exit_codes
from pipeline.cli.predict import predict
from pipeline.cli.report import report
from pipeline.cli.run import clean, run, runs
from pipeline.cli.serve import serve
from pipeline.cli.tensorboard import tensorboard
from pipeline.cli.tune import tune
from pipeline.cli.verify_data import verify_data
from pipeline.cli.versions import label, prune, rollback, verify, versions


class _Commands(click.Group):
    def main(self, *args: Any, **kwargs: Any) -> Any:
        # Before the help is printed.
        show_text_in_any_encoding()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with errors_to_exit_codes():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            # The cutoff of click, 0.6, answers `table` with `label`.
            similar = get_close_matches(error.command_name, self.commands, cutoff=0.75)
            raise click.NoSuchCommand(error.command_name, possibilities=similar, ctx=ctx) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="digit-classifier")
def main() -> None:
    """Train, gate and push an image classifier.

    Settings come from these sources, lowest priority first: defaults, profile, `digits tune` (with --tuned), TOML file,
    environment (DIGITS_SECTION__KEY), command line. Exit codes: 0 pushed or unchanged, 1 failure, 2 invalid usage or
    configuration, 3 refused by a gate.
    """


for _command in (
    *(new, run, tune, runs, report, tensorboard, clean, compile_pipeline, deploy),
    *(versions, verify, rollback, prune, label, lineage, predict, serve, verify_data),
):
    main.add_command(_command)


if __name__ == "__main__":
    main()
