"""The option --protocol: the rules that decide whether an answer is right."""

from __future__ import annotations

import click

from medr1.answers import PROTOCOLS, PUBLISHED, SCRIPTS
from medr1.cli.common import option

_PROTOCOL_HELP = (
    "Rules that decide whether an answer is right. default: any clear answer. strict: one "
    f"<answer> block with only the answer. {', '.join(('authors', *SCRIPTS))}: the rules of "
    f"Med-R1's scripts. {', '.join(PUBLISHED)}: the rules of these projects' code, without a judge "
    "model; medevalkit is also Lingshu's."
)
protocol_option = option(
    "--protocol",
    group="Metrics",
    type=click.Choice(PROTOCOLS),
    metavar="NAME",
    help=_PROTOCOL_HELP,
)
eval_protocol_option = option(
    "--protocol",
    group="Metrics",
    type=click.Choice((*PROTOCOLS, "all")),
    metavar="NAME",
    help=f"{_PROTOCOL_HELP} all: those of default, and a table of what every protocol gives.",
)
