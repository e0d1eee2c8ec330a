"""`thinkseg demo`: a few clips answered, tracked and scored, as a web page."""

from __future__ import annotations

from pathlib import Path

import typer

from thinkseg.cli import model_options, options
from thinkseg.cli.declare import command
from thinkseg.console import Progress

app = typer.Typer()


@command(app, "answer questions about a few clips and write a page")
def demo(
    models: model_options.ModelOptions, chain: options.ChainName = None, out: options.Out = Path("runs/demo")
) -> int:
    """Renders clips of the shapes world as video files, answers a question about each, tracks the answers and
    scores them. Writes index.html, which opens from disk.
    """
    from thinkseg.report.demo import COMMAND, demo_table, run
    from thinkseg.storage.result_folder import check_out

    check_out(out, COMMAND)
    chosen, asking = models.chosen(model_options.PolicyOptions(chain=chain), only_options=True)
    asking.chain_function()
    with Progress() as progress:
        tracker = chosen.load_tracker(progress)
        policy = chosen.load_policy(progress)
        progress.show("answering")
        rows = run(out, policy, tracker, progress, asking.chain_name)
    print(demo_table(rows))
    print(f"open {out / 'index.html'}")
    return 0
