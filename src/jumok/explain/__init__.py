"""Attention maps as pictures, pages, tables and data: plain arrays and tokens in, text out.

attention = AttentionMap(source_tokens, target_tokens, weights)
print(render_terminal(attention, width=80, color=True))
write(attention, "map.svg")  # or .html .png .json
"""

from jumok.explain.alignment import Links, links, pharaoh
from jumok.explain.attention_map import AttentionMap
from jumok.explain.html import render_fragment, render_html
from jumok.explain.json_format import from_json, to_json
from jumok.explain.png import write_png
from jumok.explain.svg import render_svg
from jumok.explain.symmetrise import Symmetrisation, symmetrise
from jumok.explain.terminal import render_terminal
from jumok.explain.units import Units, group, merge
from jumok.explain.writing import SUFFIXES, write

__all__ = [
    "SUFFIXES",
    "AttentionMap",
    "Links",
    "Symmetrisation",
    "Units",
    "from_json",
    "group",
    "links",
    "merge",
    "pharaoh",
    "render_fragment",
    "render_html",
    "render_svg",
    "render_terminal",
    "symmetrise",
    "to_json",
    "write",
    "write_png",
]
