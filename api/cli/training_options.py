"""How a training is asked for on the command line: the options of `train` and of schedules that train."""

import math
from collections.abc import Callable
from typing import Any, get_args

import click

from api.cli.client import Json
from shared.training_options import TrainingOptions

DEFAULTS = TrainingOptions()


class Finite(click.FloatRange):
    """A number within bounds, which JSON can carry."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As click does, but for what is no number, or no end of one."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


SHARE = Finite(0, 1, min_open=True, max_open=True)


def _choice(name: str, told: str) -> Callable[..., Any]:
    """An option of which the document of options knows the values."""
    field = TrainingOptions.model_fields[name]
    values = click.Choice(get_args(field.annotation))
    return click.option(f"--{name.replace('_', '-')}", type=values, default=field.default, show_default=True, help=told)


_OPTIONS = (
    click.option(
        "--from-scratch", is_flag=True, help="With new weights of the same network, instead of from the version's own."
    ),
    _choice("network", "The version's own, or, with --from-scratch, one of ours."),
    click.option("--epochs", type=click.IntRange(min=1), default=DEFAULTS.epochs, show_default=True),
    click.option("--batch-size", type=click.IntRange(min=1), default=DEFAULTS.batch_size, show_default=True),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=DEFAULTS.workers,
        show_default=True,
        help="Processes that learn together.",
    ),
    _choice("precision", "What layers compute in while they learn; the mixed ones are for GPUs."),
    click.option(
        "--learning-rate", type=Finite(0, 10, min_open=True), default=DEFAULTS.learning_rate, show_default=True
    ),
    _choice("decay", "How the rate falls until the last epoch."),
    click.option(
        "--patience",
        "patience_epochs",
        type=click.IntRange(min=0),
        default=DEFAULTS.patience_epochs,
        show_default=True,
        help="End when val was no better for so many epochs; 0: never.",
    ),
    _choice("best_by", "Which epoch is kept: of the lowest loss on val, or of the highest AUC."),
    click.option(
        "--class-weights/--no-class-weights", default=True, show_default=True, help="Rare classes count more."
    ),
    click.option("--mirror", is_flag=True, help="Left and right change places in half of the images, each time anew."),
    click.option(
        "--shift",
        type=Finite(0, 0.5),
        default=DEFAULTS.augment.shift,
        show_default=True,
        help="Images are moved by at most this share of their sides, each time anew.",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=DEFAULTS.seed, show_default=True),
    click.option(
        "--val-share", type=SHARE, default=DEFAULTS.val_share, show_default=True, help="Of the patients who learn."
    ),
)


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a training."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def wanted_training(given: dict[str, Any]) -> Json:
    """What the API takes, taken out of a command's options."""
    options = {name: given.pop(name) for name in TrainingOptions.model_fields if name in given}
    options["start"] = "scratch" if given.pop("from_scratch") else "warm"
    if options["network"] != "package" and options["start"] == "warm":
        raise click.UsageError(f"--network {options['network']} has no weights to go on from: add --from-scratch")
    options["augment"] = {name: given.pop(name) for name in ("mirror", "shift")}
    return options
