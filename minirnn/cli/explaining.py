"""``minirnn explain``: one step of training, looked into."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from minirnn.cli.language import load_lm
from minirnn.cli.shared import check_writable, one_sentence
from minirnn.cli.terminal import plain_if_asked
from minirnn.core.files import Json
from minirnn.explain.engine.scene import CELLS, Scene, Take
from minirnn.explain.pictures import draw_flow, draw_gates, draw_text, flow_of
from minirnn.explain.terminal import coloured, step_table, time_table
from minirnn.training.plots import check_picture, figure_class

TEXT = "hello, hidden state"
KEY = "(1), (2) … are the cell's own, (a) to (c) surround every cell, (L1) and (L2) are the loss's"
SIDE_BY_SIDE = {"vanilla RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}


@click.command()
@click.argument("text", default=TEXT)
@click.option("--model", type=click.Path(path_type=Path), help="A saved language model, instead of a fresh network.")
@click.option("--cell", type=click.Choice(tuple(CELLS)), help="Cell of the fresh network.  [default: gru]")
@click.option("--hidden-size", type=click.IntRange(1), help="Size of the fresh network.  [default: 8]")
@click.option("--seed", type=click.IntRange(0), help="Seed of the fresh network.  [default: 0]")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Factor on the recurrent weights U.")
@click.option(
    "--clip",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Largest gradient norm.",
)
@click.option("--no-clip", is_flag=True, help="Do not clip gradients.")
@click.option(
    "--num-steps", type=click.IntRange(1), help="Number of characters of TEXT to read.  [default: all but the last]"
)
@click.option("--layer", default="", help="Recurrent layer to look at, 0.1.reverse for example.  [default: the last]")
@click.option("--step", type=click.IntRange(0), help="Step whose equations are shown.  [default: one in the middle]")
@click.option("--unit", type=click.IntRange(0), help="Colour the text by this unit of h'.")
@click.option("--html", type=click.Path(path_type=Path), help="Write an HTML page to step through in a browser.")
@click.option("--serve", "served", is_flag=True, help="Serve the page, with controls, to a browser on this machine.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port for --serve.  [default: any that is free]")
@click.option(
    "--flow", type=click.Path(path_type=Path), help="Draw how far gradients reach back: vanilla RNN, GRU and LSTM."
)
@click.option("--gates", type=click.Path(path_type=Path), help="Draw gates and states over time.")
@click.option("--colours", type=click.Path(path_type=Path), help="Draw the text coloured by --unit.")
@one_sentence
def explain(text: str, **values: Any) -> None:
    """Run a forward and a backward pass of a network over TEXT and show every quantity beside its equation.

    The network predicts the next character.  It is a small fresh one, or --model.
    """
    options = ExplainOptions(**values)
    scene = options.scene(text)
    options.check(scene)
    if options.pictures:
        figure_class()  # what is not installed is said before the work
    take = scene.trace()
    unit, H = options.unit, take.walk["h1"].shape[-1]
    if unit is not None and unit >= H:
        raise ValueError(f"--unit must be from 0 to {H - 1}, the units of h'; got {unit}")
    if options.html:
        from minirnn.explain.page import write_page  # what other commands need not wait for

        write_page(options.html, scene)
        click.echo(f"wrote {options.html}")
    if options.flow:
        _draw_flow(take, options.flow)
    if options.gates:
        draw_gates(take.walk, take.read, options.gates)
    if options.colours and unit is not None:
        draw_text(take.walk["h1"][:, 0, unit], take.read, options.colours, title=f"unit {unit} of h'")
    for path in options.pictures:
        click.echo(f"wrote {path}")
    if options.served:
        from minirnn.explain.page.serve import serve

        serve(scene, options.port or 0, lambda address: click.echo(f"{address} shows it, until Ctrl-C"))
    elif options.step is not None or not (options.pictures or options.html):
        # at the step where the backward pass begins nothing comes from another step, and dh is 0
        _show(take, int(take.walk.order[scene.T // 2]) if options.step is None else options.step, unit)


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """The options of ``minirnn explain``."""

    model: Path | None
    cell: str | None
    hidden_size: int | None
    seed: int | None
    scale: float
    clip: float
    no_clip: bool
    num_steps: int | None
    layer: str
    step: int | None
    unit: int | None
    html: Path | None
    served: bool
    port: int | None
    flow: Path | None
    gates: Path | None
    colours: Path | None

    @property
    def pictures(self) -> list[Path]:
        """The pictures to draw."""
        return [path for path in (self.flow, self.gates, self.colours) if path]

    def scene(self, text: str) -> Scene:
        """The scene to look into; ValueError, one sentence, for what cannot be shown."""
        view: Json = {
            "scale": self.scale,
            "clip": None if self.no_clip else self.clip,
            "num_steps": self.num_steps,
            "layer": self.layer,
        }
        fresh = {"cell": self.cell, "hidden_size": self.hidden_size, "seed": self.seed}
        chosen: Json = {name: value for name, value in fresh.items() if value is not None}
        if self.model is None:
            return Scene(text, **chosen, **view)
        if chosen:
            raise ValueError(
                f"--model has a cell, a size and weights of its own; got --{next(iter(chosen)).replace('_', '-')} too"
            )
        return Scene.of_model(load_lm(self.model, "numpy"), text, **view)

    def check(self, scene: Scene) -> None:
        """Find out before the work what could not be shown or written."""
        for path in self.pictures:
            check_writable(check_picture(path), what="a picture")
        if self.html:
            check_writable(self.html, what="--html")
        if self.colours and self.unit is None:
            raise ValueError("--colours takes a unit to colour the text by: --unit 0")
        if self.step is not None and self.step >= scene.T:
            raise ValueError(f"--step must be from 0 to {scene.T - 1}, for {scene.T} steps; got {self.step}")
        if self.port is not None and not self.served:
            raise ValueError("--port is that of --serve, which is not given")


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
