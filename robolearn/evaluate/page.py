"""Parts of a report: one HTML file that stands on its own, on light and on dark screens and on paper."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from robolearn.logging.curves import GRID, INK, MUTED, STYLE

VIDEOS = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif"}
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1")
"""Okabe and Ito's colours for every kind of colour vision, without the yellow that is lost on white."""
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    "#0072b2": "var(--blue)",
    "#8c6bb1": "var(--violet)",
}
"""Colours of a drawing that a page may change, as it does on a dark screen."""


def document(title: str, parts: Iterable[str]) -> str:
    """Return a page of HTML ``parts``."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{CSS}</style>\n</head>\n'
        f"<body>\n<main>\n{chr(10).join(parts)}\n</main>\n</body>\n</html>\n"
    )


def preformatted(plain: str) -> str:
    """Return plain text as HTML that keeps its lines."""
    return f"<pre>{escape(plain)}</pre>"


def card(picture: str, caption: str, narrow: bool = False) -> str:
    """Return a picture (HTML) with a caption (plain text)."""
    kind = ' class="narrow"' if narrow else ""
    return f'<div class="card"><figure{kind}>{picture}<figcaption>{escape(caption)}</figcaption></figure></div>'


def film(name: str, path: Path) -> str:
    """Return a film that is part of the page.

    Raises:
        ValueError: its kind is none of ``VIDEOS``.
        OSError: it cannot be read.
    """
    kind = VIDEOS.get(path.suffix)
    if kind is None:
        raise ValueError(f"{path}: a film must be one of {', '.join(VIDEOS)}")
    data = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    shown = (
        f'<img src="{data}" alt="{escape(name)}">'
        if kind.startswith("image")
        else f'<video src="{data}" controls loop muted autoplay playsinline></video>'
    )
    return card(shown, name)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are HTML, those that begin with ``<t`` as they are."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(cell if cell.startswith("<t") else f"<td>{cell}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def entries(values: Mapping[str, str]) -> str:
    """Return names and plain values, one below the other."""
    listed = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in values.items())
    return f"<dl>{listed}</dl>"


def machine_text(where: Mapping[str, Any]) -> str:
    """Say in one line where something ran; ``where`` as ``run_folder.machine`` gives it."""
    memory = f", {where['memory_gb']} GB" if where.get("memory_gb") else ""
    gpu = f", {where['gpu']}" if where.get("gpu") else ""
    return f"{where.get('processor')}, {where.get('cores')} cores{memory}{gpu}, {where.get('system')}"


def drawing() -> AbstractContextManager[None]:
    """Settings of matplotlib for pictures that ``svg`` puts into a page."""
    style: dict[Any, Any] = {**STYLE, "svg.fonttype": "none", "svg.hashsalt": "page"}
    return plt.rc_context(style)


def svg(figure: Figure) -> str:
    """Return a figure as an ``svg`` element without outside references, and close it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[a-zA-Z]\w*?_\d+"', "", text)  # names of parts, which would be the same in every picture
    for color, variable in VARIABLES.items():
        text = text.replace(color, variable)
    return text.strip()


CSS = """
:root { --ink: #1f2933; --muted: #5f6c7b; --grid: #e4e7eb; --page: #f5f7fa; --card: #ffffff; --blue: #0072b2;
  --violet: #8c6bb1; --good: #00694d; --fair: #8a5a00; --bad: #b03a00; --score: 0, 114, 178; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaef; --muted: #9aa7b4; --grid: #333c46; --page: #14181d; --card: #1c2229; --blue: #4aa8e0;
    --violet: #b494d8; --good: #3fcf9f; --fair: #f0b94a; --bad: #ff8f5c; --score: 86, 180, 233; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 36px 0 10px; }
h3 { font-size: 16px; margin: 24px 0 6px; }
p { margin: 6px 0 10px; }
ul { margin: 4px 0; padding-left: 20px; }
.muted, figcaption, small { color: var(--muted); }
.card { background: var(--card); border: 1px solid var(--grid); border-radius: 8px; padding: 16px 18px;
  margin: 12px 0; }
.card > p:first-child, .card > pre:first-child { margin-top: 0; }
.verdict { border-left: 6px solid var(--muted); }
.verdict p { margin: 2px 0; }
.verdict b { font-size: 16px; }
.verdict strong { font-size: 18px; }
.verdict.good { border-left-color: var(--good); }
.verdict.fair { border-left-color: var(--fair); }
.verdict.bad { border-left-color: var(--bad); }
.mark { font-weight: 700; }
.good strong, .mark.good { color: var(--good); }
.fair strong, .mark.fair { color: var(--fair); }
.bad strong, .mark.bad { color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: left; border-bottom: 1px solid var(--grid); vertical-align: top; }
th { font-weight: 600; }
thead th { color: var(--muted); font-size: 13px; white-space: nowrap; }
td { white-space: nowrap; }
td small, th small { display: block; font-weight: 400; font-size: 12px; }
td.text, td small.text { white-space: normal; }
td.scored { background: rgba(var(--score), calc(var(--s) * 0.42)); }
td.scored small { color: inherit; opacity: 0.75; }
figure { margin: 0; }
figure svg { width: 100%; height: auto; display: block; }
figure.narrow svg { width: auto; max-width: 100%; }
figcaption { font-size: 13px; margin-top: 8px; }
video, figure img { max-width: 100%; border-radius: 6px; display: block; }
svg text { font-family: inherit !important; }
pre { background: var(--page); border: 1px solid var(--grid); border-radius: 6px; padding: 10px 12px;
  overflow-x: auto; font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; }
details.policy > summary { font-size: 20px; margin: 32px 0 10px; }
@media print { body { background: none; } .card { break-inside: avoid; } }
"""
