"""Sphinx settings: `pip install -e ".[docs]"`, then `sphinx-build docs docs/_build`."""

from iclkit import __version__

project = "iclkit"
version = release = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
html_theme = "furo"
html_title = f"iclkit {version}"
exclude_patterns = ["_build"]
