"""The reference is what the code says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_has_not_drifted():
    command = [sys.executable, DOCS / "generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page} links to {target}"


def test_the_readme_links_lead_somewhere():
    readme = DOCS.parent / "README.md"
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", readme.read_text()):
        assert (readme.parent / target).exists(), target


def test_every_dependency_has_a_sentence():
    import tomllib

    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    told = (DOCS / "explanation/dependencies.md").read_text()
    for dependency in project["dependencies"]:
        name = re.match(r"[\w-]+", dependency)[0]
        assert f"| {name} |" in told
