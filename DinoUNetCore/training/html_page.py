"""A report as one HTML file that holds all it shows: no scripts, no other files, nothing fetched.

Readable on a phone, in dark mode and on paper. Every text is escaped; what is HTML already is an `Html`, which only
this module makes.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape

NUMBER = re.compile(r"[-+±]?\d[\d.,]*( ?[%±]? ?[\d.,]*)?")  # 12, 0.88, 0.88 ± 0.02, 4 %

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1b1f24; --faint: #5d6772; --line: #d9dee3; --box: #f4f6f8;
  --warn: #8a4b00; --warn-ground: #fff4e0; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c; --text: #e9ecef; --faint: #9aa3ad; --line: #343b43;
  --box: #1f242a; --warn: #ffcf8a; --warn-ground: #35290f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; padding-top: 0.75rem; border-top: 1px solid var(--line); }
p { margin: 0.5rem 0; max-width: 48rem; }
.warning { padding: 0.5rem 0.75rem; border-left: 4px solid currentColor; color: var(--warn);
  background: var(--warn-ground); }
.tiles { display: flex; flex-wrap: wrap; gap: 0.75rem; margin: 0.75rem 0; }
.tile { flex: 1 1 9rem; padding: 0.6rem 0.8rem; background: var(--box); border-radius: 0.5rem; }
.tile b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span, figcaption, footer, summary { color: var(--faint); font-size: 0.9rem; }
.wide { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: collapse; font-size: 0.92rem; overflow-wrap: normal; }
th, td { padding: 0.3rem 0.7rem 0.3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; padding-left: 0.7rem; }
pre { padding: 0.6rem 0.8rem; background: var(--box); border-radius: 0.4rem; white-space: pre-wrap; font-size: 0.9rem; }
figure { margin: 1rem 0; }
img { display: block; max-width: 100%; height: auto; border-radius: 0.4rem; }
details { margin: 0.75rem 0; }
summary { cursor: pointer; }
footer { margin: 2.5rem 0 1rem; padding-top: 0.75rem; border-top: 1px solid var(--line); }
@media print { :root { --ground: #fff; --text: #000; --faint: #444; --line: #bbb; --box: #f2f2f2; --warn: #000;
  --warn-ground: #eee; } body { max-width: none; padding: 0; font-size: 10pt; }
  figure, tr, .tiles { break-inside: avoid; } h2 { break-after: avoid; } .wide { overflow: visible; }
  details::details-content { content-visibility: visible; } }
"""


class Html(str):
    """Text that is HTML already, and is not escaped again."""


def page(title: str, parts: Sequence[Html | str]) -> str:
    """The whole file, to be written as UTF-8. A part that is plain text becomes a paragraph."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f"{_joined(parts)}\n"
        "<footer>Made by Dino U-Net for 3D Slicer. For research only: not a medical device.</footer>\n"
        "</body>\n</html>\n"
    )


def section(title: str, *parts: Html | str) -> Html:
    """Parts under a heading."""
    return Html(f"<section>\n<h2>{escape(title)}</h2>\n{_joined(parts)}\n</section>")


def folded(title: str, *parts: Html | str) -> Html:
    """Parts that are shown when the title is clicked, and in print."""
    return Html(f"<details>\n<summary>{escape(title)}</summary>\n{_joined(parts)}\n</details>")


def paragraph(text: str) -> Html:
    return Html(f"<p>{escape(text)}</p>")


def warning(text: str) -> Html:
    """A paragraph that is not to be overlooked."""
    return Html(f'<p class="warning">{escape(text)}</p>')


def code(text: str) -> Html:
    """What is typed or was typed, as it stands."""
    return Html(f"<pre>{escape(text)}</pre>")


def tiles(entries: Sequence[tuple[str, str]]) -> Html:
    """The numbers that matter most, large, each (number, what it is)."""
    boxes = (f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in entries)
    return Html(f'<div class="tiles">{"".join(boxes)}</div>')


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """Rows of cells under headings (none: a table without a head). None is an empty cell. Columns that hold numbers
    only are set flush right. A table that is wider than the screen is scrolled by itself.
    """
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    numbers = [
        any(column) and all(NUMBER.fullmatch(cell) for cell in column if cell not in ("", "-"))
        for column in zip(*texts, strict=True)
    ] or [False] * len(headings)
    head = f"<thead>{_row('th', headings, numbers)}</thead>" if headings else ""
    body = "\n".join(_row("td", row, numbers) for row in texts)
    return Html(f'<div class="wide"><table>{head}\n<tbody>\n{body}\n</tbody></table></div>')


def picture(png: bytes, caption: str) -> Html:
    """A PNG inside the page, with a caption that also stands for it where it cannot be seen."""
    text, data = escape(caption), b64encode(png).decode("ascii")
    return Html(
        f'<figure><img src="data:image/png;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'
    )


def _joined(parts: Sequence[Html | str]) -> str:
    return "\n".join(part if isinstance(part, Html) else paragraph(part) for part in parts)


def _row(tag: str, cells: Sequence[str], numbers: Sequence[bool]) -> str:
    kinds = [' class="number"' if number else "" for number in numbers]
    return (
        "<tr>" + "".join(f"<{tag}{kind}>{escape(c)}</{tag}>" for c, kind in zip(cells, kinds, strict=True)) + "</tr>"
    )
