"""Sphinx's settings: ``make docs`` builds the site into docs/_build."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import generate  # noqa: E402

import parallel_ser  # noqa: E402

generate.write(HERE / "_generated")

project = "parallel-ser"
author = "the authors of parallel-ser"
version = release = parallel_ser.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated/part-*"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
html_theme = "furo"
html_title = "parallel-ser"
html_show_sphinx = False
html_copy_source = False
