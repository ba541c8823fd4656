# SPDX-License-Identifier: MIT
"""Bar charts as SVG, so that a plot needs no other program."""
import math
from xml.sax.saxutils import escape

# Lengths in pixels. They are choices: words of size 11 fit beside and above a bar.
BAR, GAP, HEAD = 16, 5, 44
LABEL, BARS, VALUE = 178, 240, 92
PANEL = LABEL + BARS + VALUE
# Panels beside each other.
COLUMNS = 2
FOOT = 14

COLOURS = {"wiregather": "#0072b2", "no tunnel": "#bbbbbb"}
VARIANT, OTHER = "#56b4e9", "#e69f00"


def colour_of(name):
    if name in COLOURS:
        return COLOURS[name]
    return VARIANT if name.startswith("wiregather") else OTHER


def number(value):
    """A number with three significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def text(x, y, words, anchor="start", size=11, weight="normal"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" '
            f'font-size="{size}" font-weight="{weight}">'
            f'{escape(words)}</text>')


def bar(y, name, values, scale):
    """One bar: its length is the median, and a line on it goes from the
    minimum to the maximum."""
    middle, least, most = values
    x, centre = LABEL, y + BAR / 2
    yield text(x - 6, y + BAR - 4, name, "end")
    yield (f'<rect x="{x}" y="{y:.1f}" width="{middle * scale:.1f}" '
           f'height="{BAR}" fill="{colour_of(name)}"/>')
    yield (f'<path d="M{x + least * scale:.1f} {centre:.1f}'
           f'H{x + most * scale:.1f}" stroke="#000" stroke-width="1.5"/>')
    yield text(x + most * scale + 6, y + BAR - 4, number(middle))


def panel(title, unit, bars):
    """A chart of {name: (median, minimum, maximum)} with its top at 0."""
    most = max(v[2] for v in bars.values()) or 1
    yield text(LABEL, 20, title, size=13, weight="bold")
    yield text(LABEL, 36, unit, size=10)
    for i, (name, values) in enumerate(bars.items()):
        yield from bar(HEAD + i * (BAR + GAP), name, values, BARS / most)


def height_of(bars):
    return HEAD + len(bars) * (BAR + GAP) + FOOT


def draw(panels):
    """An SVG of panels (title, unit, bars), two beside each other."""
    rows = [panels[i:i + COLUMNS] for i in range(0, len(panels), COLUMNS)]
    parts, y = [], 0
    for row in rows:
        for column, (title, unit, bars) in enumerate(row):
            parts.append(f'<g transform="translate({column * PANEL} {y})">')
            parts += panel(title, unit, bars)
            parts.append("</g>")
        y += max(height_of(bars) for _, _, bars in row)
    width = PANEL * min(COLUMNS, len(panels))
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
        f'height="{y}" viewBox="0 0 {width} {y}" font-family="sans-serif">',
        f'<rect width="{width}" height="{y}" fill="#fff"/>',
        *parts, "</svg>")) + "\n"
