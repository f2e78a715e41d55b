"""Other people's words in a picture: of bounded length, and never read as formulas."""

from matplotlib.figure import Figure

LETTER = 0.09  # inches of a letter of average width


def shorten(text: str, most: int) -> str:
    """Returns `text` on one line in at most `most` characters, those in its middle left out.

    >>> shorten("a label that goes on and on", 16)
    'a label t…and on'
    """
    words = " ".join(text.split())
    if len(words) <= most:
        return words
    end = 2 * (most - 1) // 5
    return f"{words[: most - 1 - end]}…{words[len(words) - end :]}"


def set_title(figure: Figure, title: str) -> None:
    """Puts a title above the picture; each of its lines is shortened to the width."""
    most = int(figure.get_figwidth() / LETTER)
    lines = "\n".join(shorten(line, most) for line in title.split("\n"))
    figure.suptitle(lines, fontsize=11).set_parse_math(False)  # a run may be called $x$
