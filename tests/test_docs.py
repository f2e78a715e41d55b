"""The Python code of the README and of docs/ runs as it stands, and prints what the page says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "docs/circuits.md", "docs/extending.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def run_page(text, name):
    """Runs the Python blocks of a page as one program and yields (what a block printed, what the page says it does).

    A `text` block says what the Python block before it prints, whatever prose is between them.
    """
    names = {"__name__": name}
    blocks = list(FENCE.finditer(text))
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] == "python":
            line = text.count("\n", 0, block.start(2))
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * line + block[2], name, "exec"), names)
            yield printed.getvalue(), following[2] if following is not None and following[1] == "text" else ""


@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_page_runs_and_prints_what_it_says(page):
    results = list(run_page((ROOT / page).read_text(encoding="utf-8"), page))
    assert results, f"{page} shows no code"
    for printed, stated in results:
        assert printed == stated


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```python\nprint(1)\n```\n",
        "```python\nx = 1\n```\n\n```text\n1\n```\n",
        "```python\nprint(1)\n```\n\n```\n1\n```\n",
    ],
)
def test_output_that_a_page_does_not_state_is_found(text):
    assert any(printed != stated for printed, stated in run_page(text, "page"))


def test_blocks_share_their_names():
    text = "```python\nx = 2\n```\nAnd then\n```python\nprint(x)\n```\nprints\n```text\n2\n```\n"
    assert list(run_page(text, "page")) == [("", ""), ("2\n", "2\n")]


@pytest.mark.parametrize("page", [*PAGES, "ARCHITECTURE.md"])
def test_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:qjax|configs|tests|docs|benchmarks|scripts)/[\w./]+)`", text)
    named += re.findall(r"\]\(([\w./]+)\)", text)
    folders = (ROOT, (ROOT / page).parent)  # code names files from the root, a link from where the page is
    missing = [name for name in named if not any((folder / name).exists() for folder in folders)]
    assert not missing
