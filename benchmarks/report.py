"""The tables: a row for each case, a column for each contestant, and what it comes to."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.peers import F4, METERS, NARROW, OURS, PLAIN, SEGMENTED, SUBJECT, TORCH, arithmetic
from benchmarks.results import Ratio, Results, Row, Standing, mean

NONE = "–"
WORDS = {"training": "ms", "inference": "µs", "stream": "µs a step", "chapter": "tokens/s", "long": "ms"}
UNITS = {"training": 1e3, "long": 1e3, "inference": 1e6, "stream": 1e6}  # of a second


def show(results: Results, console: Console) -> int:
    """Print everything; the exit code: 1 where someone disagreed or failed."""
    machine, libraries = results.machine, [info for name, info in results.info.items() if name not in METERS.values()]
    versions = sorted(
        {f"{name} {value}" for info in libraries for name, value in info.items() if isinstance(value, str)}
    )
    line(console, f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}; {', '.join(versions)}")
    for (kind, threads), rows in results.groups().items():
        names = results.options["contestants"]
        narrow = [narrow_table(kind, threads, rows, names, numbers) for numbers in OURS if numbers != F4]
        if not any(narrow) or {name for name in names if name not in NARROW} != {SUBJECT}:  # whose times those have
            console.print(table(kind, threads, rows, names))
        for one in filter(None, narrow):
            console.print(one)
    peaks(results, console)
    for means in (mean_table(results), narrow_mean_table(results)):
        if means:
            console.print(means)
    remarks(results, console)
    return 0 if results.agreed else 1


def peaks(results: Results, console: Console) -> None:
    """The most that each instruction was seen to do, and which of them the processor lacks."""
    for threads in dict.fromkeys(row.threads for row in results.rows):
        for numbers, meter in METERS.items():
            samples = [s for row in results.rows if row.threads == threads for s in row.peaks.get(numbers, [])]
            if samples:
                count, info = f"{threads} thread{'s' * (threads > 1)}", results.info.get(meter, {})
                said = f"{info.get('instruction', '?')}, vectors of {info.get('bits', '?')} bits"
                line(console, f"peak in {numbers}, {count}: {max(samples) / 1e9:.0f} G operations/s ({said})")
    for numbers, meter in METERS.items():
        if meter in results.absent:
            line(console, f"peak in {numbers}: not here: {results.absent[meter]}", "yellow")


def start(kind: str, threads: int, remark: str, rows: Sequence[Row], names: Sequence[str]) -> tuple[Table, list[str]]:
    """A table with columns for those of ``names`` that take part, and these."""
    title = f"{kind}, {threads} thread{'s' * (threads > 1)}{remark}, median {WORDS[kind]}, % of the instruction's peak"
    lines = Table(title=title, title_justify="left")
    lines.add_column("case", no_wrap=True)
    taking_part = {name for row in rows for name, s in row.standings.items() if s.status != "unsupported"}
    shown = [name for name in names if name in taking_part]
    for name in shown:
        lines.add_column(name, justify="right", no_wrap=True)
    return lines, shown


def table(kind: str, threads: int, rows: Sequence[Row], names: Sequence[str]) -> Table:
    """The cases of one kind, in float32."""
    lines, shown = start(kind, threads, "", rows, [name for name in names if name not in NARROW])
    if kind == "long":
        lines.add_column("√T for all, time", no_wrap=True)
        lines.add_column("left by forward", no_wrap=True)
    else:
        lines.add_column("fastest peer / minirnn", no_wrap=True)
        lines.add_column("torch / minirnn", no_wrap=True)
    weighed = any(row.memory for row in rows)
    if weighed:
        lines.add_column("grows by MiB", no_wrap=True)
    for row in rows:
        cells = [cell(kind, row, row.standings.get(name), row.share(name)) for name in shown]
        if kind == "long":
            ratios = [Text(", ".join(words)) for words in price(row)]
        else:
            ratios = [ratio(row.fastest, name=True), ratio(row.against(TORCH))]
        lines.add_row(row.label, *cells, *ratios, *([memory(row)] if weighed else []))
    return lines


def narrow_table(kind: str, threads: int, rows: Sequence[Row], names: Sequence[str], numbers: str) -> Table | None:
    """Those cases in which someone multiplies such numbers, beside minirnn in float32; None where there are none."""
    named = [name for name in names if name in NARROW and arithmetic(name) == numbers]
    rows = [row for row in rows if any(s.status != "unsupported" for n, s in row.standings.items() if n in named)]
    if not rows:
        return None
    lines, shown = start(kind, threads, f", in {numbers}", rows, [SUBJECT, *named])
    (ours,) = OURS[numbers]
    lines.add_column(f"fastest peer / {ours}", no_wrap=True)
    lines.add_column(f"minirnn / {ours}", no_wrap=True)
    for row in rows:
        cells = [cell(kind, row, row.standings.get(name), row.share(name)) for name in shown]
        lines.add_row(row.label, *cells, ratio(row.fastest_in(numbers), name=True), ratio(row.gain.get(numbers)))
    return lines


def cell(kind: str, row: Row, standing: Standing | None, share: float | None) -> Text:
    """A contestant's median and its share of the peak, or why there is none in one word."""
    if standing is None or standing.status == "unsupported":
        return Text(NONE, style="dim")
    if standing.status != "timed":
        return Text(standing.status.upper(), style="bold red")
    tokens = kind == "chapter"
    said = f"{row.case.tokens / standing.median:,.0f}" if tokens else digits(standing.median * UNITS[kind])
    return Text.assemble(said, (f"{percent(share):>5}", "dim"))


def ratio(found: Ratio | None, *, name: bool = False) -> Text:
    """Least, median and greatest of the rounds' ratios."""
    if found is None:
        return Text(NONE, style="dim")
    style = "green" if found.median >= 1 else "red"
    middle = (f"{found.median:.2f}", style)
    return Text.assemble(f"{found.low:.2f} ", middle, f" {found.high:.2f}", (f" {found.peer}" * name, "dim"))


def price(row: Row) -> tuple[list[str], list[str]]:
    """What keeping few states costs in time, and what it leaves of the memory, for each form that was there."""
    times, memories = [], []
    for name, whole in SEGMENTED.items():
        if found := row.between(name, whole):
            times.append(f"{found.median:.2f} {'numpy' * (whole == PLAIN)}".strip())
        if name in row.left and row.left.get(whole, 0) > 0:
            memories.append(f"{row.left[name] / row.left[whole]:.3f} of {row.left[whole] / 2**20:.1f} MiB")
    return times, memories


def percent(fraction: float | None) -> str:
    """Two digits."""
    if fraction is None:
        return NONE
    return f"{100 * fraction:.0f}%" if fraction >= 0.095 else f"{100 * fraction:.1f}%"


def memory(row: Row) -> str:
    """The subject's growth and torch's."""
    parts = [f"{name} {NONE if grown is None else f'{grown:.1f}'}" for name, grown in row.memory.items()]
    return ", ".join(parts) or NONE


def mean_table(results: Results) -> Table | None:
    """Geometric means of the medians of the ratios; None where there are no ratios."""
    found = Table(title="geometric means of peer / minirnn", title_justify="left")
    for heading in ("kind", "threads", "fastest peer", "torch", "cases"):
        found.add_column(heading, justify="left" if heading == "kind" else "right")
    for (kind, threads), rows in results.groups().items():
        ratios = [row.fastest for row in rows if row.fastest is not None]
        if ratios:
            values = [mean(ratios), mean(row.against(TORCH) for row in rows)]
            cells = [NONE if value is None else f"{value:.2f}" for value in values]
            found.add_row(kind, f"{threads}", *cells, f"{len(ratios)}")
    return found if found.rows else None


def narrow_mean_table(results: Results) -> Table | None:
    """The same over minirnn in fewer bits; and what they gain over float32."""
    lines = Table(title="geometric means in fewer bits, each over minirnn in the same", title_justify="left")
    for heading in ("kind", "threads", "in", "fastest peer", "minirnn in float32", "cases"):
        lines.add_column(heading, justify="left" if heading in ("kind", "in") else "right")
    for means in results.narrow_means():
        cells = [NONE if value is None else f"{value:.2f}" for value in (means.fastest, means.gain)]
        lines.add_row(means.kind, f"{means.threads}", means.arithmetic, *cells, f"{means.cases}")
    return lines if lines.rows else None


def remarks(results: Results, console: Console) -> None:
    """Who is absent, who takes no part in some cases, who was wrong; and whose ratios these are."""
    for name, reason in results.absent.items():
        if name not in METERS.values():
            line(console, f"absent: {name}: {reason}", "yellow")
    if any(row.subject == PLAIN for row in results.rows):
        line(console, f"{SUBJECT} was not timed in every case; there, ratios are {PLAIN}'s", "yellow")
    if disturbed := [row.others for row in results.rows if row.others is not None and row.disturbed]:
        text = f"* other processes kept up to {max(disturbed):.1f} cores busy meanwhile: nothing to be quoted"
        line(console, text, "yellow")
    declined: dict[tuple[str, str], int] = {}
    for row in results.rows:
        for name, s in row.standings.items():
            if s.status == "unsupported":
                declined[name, s.reason] = declined.get((name, s.reason), 0) + 1
            elif s.status != "timed":
                text = f"{s.status.upper()}: {name}, {row.case.name}, threads {row.threads}: {s.reason}"
                line(console, text, "bold red")
    for (name, reason), count in declined.items():
        line(console, f"{NONE} {name} took no part in {count} of {len(results.rows)}: {reason}", "dim")
    if any(row.timed for row in results.rows):
        found = [(name, s.error or 0.0, s.bound) for row in results.rows for name, s in row.timed.items()]
        worst = max((error for name, error, _ in found if name not in NARROW), default=0.0)
        share = max((error / limit for _, error, limit in found), default=0.0)
        said = f"those timed in float32 agree with the float64 reference to {worst:.1e}"
        line(console, f"{said}; all are within {100 * share:.0f}% of their bounds")
        errors = {name: max(error for n, error, _ in found if n == name) for name, _, _ in found if name in NARROW}
        if errors:
            said = ", ".join(f"{name} {100 * error:.2g}%" for name, error in errors.items())
            line(console, f"in fewer bits results are off by at most, of their root mean square: {said}")


def digits(value: float) -> str:
    """Three digits, or all before the point if there are more."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def line(console: Console, text: str, style: str = "") -> None:
    """A line as it stands, whatever is in it."""
    console.print(Text(text, style=style), soft_wrap=True)
