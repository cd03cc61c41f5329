"""An attention map as a page to point at: an output token lights up the source that it came from.

One file that asks nothing of the network, in light and dark. The page works without its script;
the script only adds the lighting up.
"""

from __future__ import annotations

import unicodedata
from html import escape
from importlib import resources

import numpy as np
from jaxtyping import Float
from rich.cells import cell_len

from jumok.explain import palette
from jumok.explain.attention_map import AttentionMap, percent
from jumok.explain.labels import END_LABEL, isolated, visible
from jumok.explain.svg import FONTS, draw

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>body {{ margin: 0 }} .jumok {{ min-height: 100vh; border-radius: 0 }}</style>
</head>
<body>
{fragment}
</body>
</html>
"""


def render_html(attention: AttentionMap) -> str:
    """Return a complete page: the two texts as tokens that answer to the pointer, and the map."""
    texts = [attention.source_text, attention.target_text]
    title = " → ".join(isolated(visible(text)) for text in texts if text) or "Attention 주목"
    return _PAGE.format(title=escape(title), fragment=render_fragment(attention))


def render_fragment(attention: AttentionMap) -> str:
    """Return the same as one ``<section>``, for Jupyter's ``_repr_html_`` or a page of one's own.

    Its style is confined to class ``jumok``; several may stand in one page.
    """
    # a classroom's back row should read a small map; a large one fills the page as it is
    scale = min(max(16 / max(*attention.weights.shape, 1), 1.2), 1.7)
    return (
        f'<section class="jumok" lang="en" aria-label="Attention map">\n<style>{_style()}</style>\n'
        f"{_headline(attention)}{_source_line(attention)}\n{_target_line(attention)}\n"
        f'<div class="map">\n{draw(attention, scale=scale)}\n</div>\n'
        f"<script>{_asset('attention.js')}</script>\n</section>"
    )


def _headline(attention: AttentionMap) -> str:
    """The texts as they are read, where the tokens are letters; words can be read by themselves."""
    source, target = visible(attention.source_text), visible(attention.target_text)
    if not (source or target) or not (
        _are_letters(attention.source_labels) or _are_letters(attention.target_labels)
    ):
        return ""
    return (
        f'<h1><bdi{_lang(source)}>{escape(source)}</bdi> <span class="soft">→</span> '
        f'<b dir="auto"{_lang(target)}>{escape(target)}</b></h1>\n'
    )


def _source_line(attention: AttentionMap) -> str:
    names, targets = attention.source_labels, attention.target_labels
    tokens = []
    for name, column in zip(names, attention.weights.T, strict=True):
        said = [_spoken(name), _most("most looked at by", targets, column)]
        tokens.append(_token(name, said))
    return _line("source", "원문", names, tokens)


def _target_line(attention: AttentionMap) -> str:
    """Each token carries its row of weights in per cent."""
    names, sources = attention.target_labels, attention.source_labels
    probabilities = attention.probabilities
    tokens = []
    for i, (name, row) in enumerate(zip(names, attention.weights, strict=True)):
        shown = "" if probabilities is None else percent(probabilities[i])
        said = [_spoken(name), shown, _most("looks most at", sources, row)]
        weights = " ".join(f"{100 * weight:.0f}" for weight in row)
        tokens.append(
            _token(name, said, f' data-weights="{weights}"', shown and f"<small>{shown}</small>")
        )
    return _line("target", "출력", names, tokens)


def _token(name: str, said: list[str], data: str = "", shown: str = "") -> str:
    """A button, so that a keyboard reaches it; ``said`` is what others see in its colours."""
    spoken = escape(", ".join(filter(None, said)))
    return (
        f'<button type="button" class="token"{_lang(name)} aria-pressed="false" '
        f'aria-label="{spoken}"{data}>{escape(name)}{shown}</button>'
    )


def _most(words: str, names: list[str], weights: Float[np.ndarray, "tokens"]) -> str:
    if not weights.any():
        return ""
    best = int(weights.argmax())
    return f"{words} {_spoken(names[best])}, {percent(weights[best])}"


def _spoken(name: str) -> str:
    return {END_LABEL: "end", "␣": "space"}.get(name, name)


def _lang(text: str) -> str:
    """What language a voice should read ``text`` in, where its letters tell."""
    return ' lang="ko"' if any("HANGUL" in unicodedata.name(c, "") for c in text) else ""


def _line(side: str, korean: str, names: list[str], tokens: list[str]) -> str:
    letters = " letters" if _are_letters(names) else ""
    caption = "output" if side == "target" else side
    return (
        f'<div class="line"><span class="soft">{caption} <span lang="ko">{korean}</span></span>'
        f'<div class="tokens {side}{letters}" role="toolbar" aria-label="{caption}">'
        f"{''.join(tokens)}</div></div>"
    )


def _are_letters(names: list[str]) -> bool:
    return all(cell_len(name) <= 2 for name in names)


def _style() -> str:
    dark = _levels(palette.DARK)
    return (
        f"{_asset('attention.css').replace('FONTS', FONTS)}{_levels(palette.LIGHT)}\n"
        f"@media (prefers-color-scheme: dark) {{\n{dark}}}\n"
    )


def _levels(stops: tuple[palette.RGB, ...]) -> str:
    """One rule per step of the scale: fills a cell, or the ground under a word's text."""
    rules = []
    for k in range(palette.LEVELS + 1):
        ground = palette.colour(k / palette.LEVELS, stops)
        fill, ink = palette.hex_colour(ground), palette.hex_colour(palette.ink_on(ground))
        rules.append(f".jumok .l{k}{{fill:{fill};background:{fill};color:{ink}}}\n")
    return "".join(rules)


def _asset(name: str) -> str:
    return (resources.files("jumok.explain") / "assets" / name).read_text(encoding="utf-8")
