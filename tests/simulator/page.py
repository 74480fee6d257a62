"""An HTML page, taken apart: its elements with their attributes, and its texts."""

from __future__ import annotations

from html.parser import HTMLParser

TAG = "\0"
"""Before what is no text: no page may show this letter."""

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page in their order, checked for being closed as they were opened."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.pieces = []
        self.comments = []
        self._open = []
        self._text = ""
        self.feed(text)
        self.close()
        self._cut()
        assert self._open == [], f"not closed: {self._open}"

    def _cut(self):
        if self._text:
            self.pieces.append(self._text)
        self._text = ""

    def handle_starttag(self, tag, attributes):
        self._cut()
        self.pieces.append(f"{TAG}<{tag}>")
        self.elements.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self._cut()
        self.pieces.append(f"{TAG}<{tag}/>")
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        self._cut()
        self.pieces.append(f"{TAG}</{tag}>")
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data):
        self._text += data

    def handle_comment(self, data):
        self.comments.append(data)

    def named(self, tag):
        """The attributes of all elements of a name."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        """All text outside of tags."""
        return " ".join(piece for piece in self.pieces if not piece.startswith(TAG))
