"""``minirnn explain``: one step of training, looked into."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from minirnn.cli.language import load_lm
from minirnn.cli.shared import check_writable, one_sentence
from minirnn.cli.terminal import plain_if_asked
from minirnn.explain.pictures import draw_flow, draw_gates, draw_text, flow_of
from minirnn.explain.scene import CELLS, Scene, Take
from minirnn.explain.terminal import coloured, step_table, time_table
from minirnn.training.plots import check_picture, figure_class

TEXT = "hello, hidden state"
KEY = "(1), (2) … are the cell's own, (a) to (c) surround every cell, (L1) and (L2) are the loss's"
SIDE_BY_SIDE = {"vanilla RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}


@click.command()
@click.argument("text", default=TEXT)
@click.option(
    "--model", type=click.Path(path_type=Path), help="A language model that was saved, in place of a fresh one."
)
@click.option("--cell", type=click.Choice(tuple(CELLS)), help="Of a fresh network.  [default: gru]")
@click.option("--hidden-size", type=click.IntRange(1), help="Of a fresh network.  [default: 8]")
@click.option("--seed", type=click.IntRange(0), help="Of a fresh network.  [default: 0]")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiplies the recurrent weights U.")
@click.option(
    "--clip",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="The gradients' largest norm.",
)
@click.option("--no-clip", is_flag=True)
@click.option(
    "--num-steps", type=click.IntRange(1), help="Characters of TEXT that are read.  [default: all but the last]"
)
@click.option(
    "--layer", default="", help="The recurrent layer to look at, 0.1.reverse for example.  [default: the last]"
)
@click.option(
    "--step", type=click.IntRange(0), help="The step whose equations are shown.  [default: one in the middle]"
)
@click.option("--unit", type=click.IntRange(0), help="Colour the text by this unit of h'.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page to step through in a browser: one file.")
@click.option("--serve", "served", is_flag=True, help="The page with controls, for this machine's browser.")
@click.option("--port", type=click.IntRange(0, 65535), help="Of --serve.  [default: any that is free]")
@click.option(
    "--flow", type=click.Path(path_type=Path), help="Draw how far gradients reach back: vanilla RNN, GRU and LSTM."
)
@click.option("--gates", type=click.Path(path_type=Path), help="Draw gates and states over time.")
@click.option("--colours", type=click.Path(path_type=Path), help="Draw the text coloured by --unit.")
@one_sentence
def explain(
    text: str,
    model: Path | None,
    html: Path | None,
    flow: Path | None,
    gates: Path | None,
    colours: Path | None,
    step: int | None,
    unit: int | None,
    served: bool,  # noqa: FBT001 - click passes options by name
    port: int | None,
    **words: Any,
) -> None:
    """Run a network over TEXT, forward and back, and show every quantity beside the equation that it comes from.

    The network learns to say the next character.  It is a tiny fresh one, or --model.
    """
    scene = _scene(text, model, words)
    pictures = [path for path in (flow, gates, colours) if path]
    for path in pictures:
        check_writable(check_picture(path), what="a picture")
    if html:
        check_writable(html, what="--html")
    if pictures:
        figure_class()  # what is not installed is said before the work
    if colours and unit is None:
        raise ValueError("--colours takes a unit to colour the text by: --unit 0")
    if step is not None and step >= scene.T:
        raise ValueError(f"--step must be from 0 to {scene.T - 1}, for {scene.T} steps; got {step}")
    if port is not None and not served:
        raise ValueError("--port is that of --serve, which is not given")
    take = scene.trace()
    H = take.walk["h1"].shape[-1]
    if unit is not None and unit >= H:
        raise ValueError(f"--unit must be from 0 to {H - 1}, the units of h'; got {unit}")
    if html:
        from minirnn.explain.page import write_page  # what other commands need not wait for

        write_page(html, scene)
        click.echo(f"wrote {html}")
    if flow:
        _draw_flow(take, flow)
    if gates:
        draw_gates(take.walk, take.read, gates)
    if colours and unit is not None:
        draw_text(take.walk["h1"][:, 0, unit], take.read, colours, title=f"unit {unit} of h'")
    for path in pictures:
        click.echo(f"wrote {path}")
    if served:
        from minirnn.explain.serve import serve

        serve(scene, port or 0, lambda address: click.echo(f"{address} shows it, until Ctrl-C"))
    elif step is not None or not (pictures or html):
        # at the step where the backward pass begins nothing comes from another step, and dh is 0
        _show(take, int(take.walk.order[scene.T // 2]) if step is None else step, unit)


def _scene(text: str, model: Path | None, words: dict[str, Any]) -> Scene:
    """What the options say, or one sentence."""
    if words.pop("no_clip"):
        words["clip"] = None
    fresh = {name: words.pop(name) for name in ("cell", "hidden_size", "seed")}
    given = {name: value for name, value in fresh.items() if value is not None}
    if model is None:
        return Scene(text, **given, **words)
    if given:
        raise ValueError(
            f"--model has a cell, a size and weights of its own; got --{next(iter(given)).replace('_', '-')} too"
        )
    return Scene.of_model(load_lm(model, "numpy"), text, **words)


def _show(take: Take, step: int, unit: int | None) -> None:
    console, walk, scene = Console(**plain_if_asked()), take.walk, take.scene
    clip = "not clipped" if scene.clip is None else f"{take.clipped_norm:.4g} after clipping at {scene.clip:g}"
    heading = f"[bold]{scene.cell} {walk['h1'].shape[-1]}[/], layer {walk.name}, over {scene.T} steps"
    console.print(f"{heading}: loss {take.loss:.4f} nats, gradient norm {take.norm:.4g}, {clip}\n")
    console.print(time_table(take, console.width))
    wanted = f"reads {take.read[step]!r}, should say {take.wanted[step]!r}, says {take.said[step]!r}"
    console.print(f"\n[bold]step {step}[/]: {wanted}\n")
    console.print(step_table(take, step, console.width))
    console.print(f"\n{KEY}")
    if unit is not None:
        console.print(f"\n[bold]unit {unit} of h'[/]: red above 0, blue below\n")
        console.print(coloured(walk["h1"][:, 0, unit], take.read))


def _draw_flow(take: Take, out: Path) -> None:
    scene = take.scene
    if scene.lm is None:
        models = {name: replace(scene, cell=cell).model() for name, cell in SIDE_BY_SIDE.items()}
    else:
        models = {f"{scene.cell} {take.walk.name}": scene.model()}
    layer = None if scene.lm is None else take.walk.name
    flows = {name: flow_of(network, take.x, take.targets, layer) for name, network in models.items()}
    draw_flow(flows, take.read, out, clip=scene.clip)
