"""An open page as tests use it: what it shows, and what a person does with it."""

from __future__ import annotations

from typing import Any

from browser import DRAWN

_TEXTS = "(s) => [...document.querySelectorAll(s)].filter((e) => e.offsetParent).map((e) => e.innerText)"
_BOX = "(selector) => document.querySelector(selector).getBoundingClientRect().toJSON()"
_COLUMN = """([selector, across]) => {
    const canvas = document.querySelector(selector);
    const copy = new OffscreenCanvas(1, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, -Math.floor(across * canvas.width), 0);
    const { data } = copy.getImageData(0, 0, 1, canvas.height);
    return Array.from({ length: canvas.height }, (_, y) => [...data.slice(4 * y, 4 * y + 3)]);
}"""

_WRITTEN = """(selector) => {
    const { prototype } = CanvasRenderingContext2D;
    const { fillText } = prototype;
    const texts = [];
    prototype.fillText = function (text, x, y) {
        if (this.canvas.matches(selector)) texts.push([text, x, x + this.measureText(text).width]);
        fillText.call(this, text, x, y);
    };
    qbitsim.app.timelines.forEach((timeline) => timeline.draw());
    qbitsim.app.show();
    prototype.fillText = fillText;
    return texts;
}"""


class Looking:
    """A person who looks at a page; ``page`` is playwright's."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate(DRAWN)

    def js(self, expression: str, argument: Any = None) -> Any:
        """The value of an expression in the page."""
        return self.page.evaluate(expression, argument)

    def goto(self, moment: int) -> None:
        self.js("(moment) => qbitsim.goto(moment)", moment)
        self.settle()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)
        self.settle()

    def click(self, selector: str, *, across: float = 0.5, down: float = 0.5) -> None:
        """Click a place in an element, given as shares of its width and height."""
        self.page.mouse.click(*self.place(selector, across, down))
        self.settle()

    def drag(self, selector: str, start: float, end: float) -> None:
        """Drag over an element from one share of its width to another."""
        mouse = self.page.mouse
        mouse.move(*self.place(selector, start, 0.5))
        mouse.down()
        mouse.move(*self.place(selector, (start + end) / 2, 0.5))
        mouse.move(*self.place(selector, end, 0.5))
        mouse.up()
        self.settle()

    def wheel(self, selector: str, amount: float) -> None:
        self.page.mouse.move(*self.place(selector, 0.5, 0.5))
        self.page.mouse.wheel(0, amount)
        self.settle()

    def place(self, selector: str, across: float, down: float) -> tuple[float, float]:
        """A place in an element, in pixels of the window."""
        box = self.js(_BOX, selector)
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def text(self, selector: str) -> str:
        """The text of an element as people see it."""
        shown: str = self.js("(selector) => document.querySelector(selector).innerText", selector)
        return shown

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements that can be seen."""
        return list(self.js(_TEXTS, selector))

    def written(self, selector: str) -> list[tuple[str, float, float]]:
        """The words in all canvases that a selector names, each with its left and its right end."""
        return [tuple(word) for word in self.js(_WRITTEN, selector)]

    def column(self, selector: str, across: float) -> list[list[int]]:
        """The red, green and blue of the pixels of a canvas at a share of its width, from top to bottom."""
        return list(self.js(_COLUMN, [selector, across]))

    def colour(self, selector: str, across: float, down: float) -> list[int]:
        """The red, green and blue of a pixel of a canvas."""
        column = self.column(selector, across)
        return column[int(down * len(column))]

    @property
    def moment(self) -> int:
        """Where the cursor is."""
        return int(self.js("qbitsim.moment"))
