"""The Python code of the README and of docs/ runs as it stands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "docs/extending.md"]


@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_page_runs(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert blocks, f"{page} shows no code"
    exec(compile("\n".join(blocks), page, "exec"), {"__name__": page})


@pytest.mark.parametrize("page", [*PAGES, "ARCHITECTURE.md"])
def test_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:qjax|configs|tests|docs|benchmarks|scripts)/[\w./]+)`", text)
    named += re.findall(r"\]\(([\w./]+)\)", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing
