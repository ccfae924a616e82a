"""`overread`: all commands, and what each kind of error looks like in a terminal."""

from typing import Any

import click

from api.cli import (
    audit,
    cancel,
    datasets,
    demo,
    follow_ups,
    jobs,
    labels,
    new_model,
    operate,
    registry,
    reports,
    retry,
    reviews,
    schedules,
    services,
    submit,
    train,
    up,
    upload,
    webhooks,
)
from api.cli.chaos import command as breaking
from api.cli.errors import EXIT_REFUSED, EXIT_UNREACHABLE, UnreachableError
from api.cli.output import make_console, plain
from shared.errors import OverreadError


class Overread(click.Group):
    """Turns our errors into one clear sentence and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(context)
        except OverreadError as error:
            make_console(to_stderr=True).print(plain(f"Error: {error.message}"), style="red", soft_wrap=True)
            context.exit(EXIT_UNREACHABLE if isinstance(error, UnreachableError) else EXIT_REFUSED)


main = Overread(
    "overread",
    help="Bulk DICOM studies in, CNN inference, one report per patient.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
main = click.version_option(package_name="overread", prog_name="overread", message="%(prog)s %(version)s")(main)
registry.models.add_command(new_model.new)
for command in (
    up.up,
    demo.demo,
    breaking.chaos,
    breaking.verify,
    submit.submit,
    upload.upload,
    jobs.jobs,
    jobs.job,
    jobs.watch,
    cancel.cancel,
    retry.retry,
    reports.reports,
    reports.report,
    reviews.review,
    reviews.amend,
    reviews.retract,
    reviews.quality,
    follow_ups.follow_ups,
    follow_ups.follow_up,
    registry.models,
    labels.labels,
    train.train,
    datasets.datasets,
    schedules.schedules,
    operate.queues,
    operate.workers,
    operate.token,
    operate.principals,
    operate.password,
    audit.audit,
    webhooks.webhooks,
    webhooks.notices,
    *(services.command_for(name) for name in services.MODULES),
):
    main.add_command(command)
