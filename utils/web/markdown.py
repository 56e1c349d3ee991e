"""Model cards as HTML: CommonMark and tables, nothing else.

Raw HTML in a card is escaped (``html=False``), pictures are not loaded, links that would run a
script are left as text (markdown-it's own check), and no style attribute is written, which the
content security policy would refuse.
"""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_PARSER = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def render_markdown(text: str, *, heading_shift: int = 1) -> Markup:
    """Render `text`, its headings moved down by `heading_shift` levels to fit below the page's."""
    tokens = _PARSER.parse(text)
    _adapt(tokens, heading_shift)
    # Safe: everything from the card went through the renderer's escaping; html is off.
    return Markup(_PARSER.renderer.render(tokens, _PARSER.options, {}))  # noqa: S704


def _adapt(tokens: Sequence[Token], heading_shift: int) -> None:
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + heading_shift)}"
        # The table rule writes style="text-align:right"; a class says the same.
        alignment = str(token.attrs.pop("style", ""))
        if alignment == "text-align:right":
            token.attrSet("class", "table__number")
        if token.type == "table_open":
            token.attrSet("class", "table")
        if token.type in ("table_open", "code_block"):
            # Both scroll sideways on a phone; the keyboard must reach them to do it.
            token.attrSet("tabindex", "0")
