"""The API reference, from the docstrings alone: `make docs` writes build/docs, to be opened in a browser.

pdoc and not mkdocs: no page and no navigation to keep by hand, one dependency.
"""

import sys
import warnings
from pathlib import Path

import pdoc

import ssv

ROOMS = ("types", "backbones", "pretexts", "evaluations", "data", "ops", "training")


def main() -> None:
    """Write the pages to the folder that is named, ``build/docs`` by default."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs")
    warnings.filterwarnings("ignore", message="Error parsing type annotation")  # of constructors that namedtuple wrote
    for name in ssv.__all__:  # they are imported when used, and pdoc looks at what is there
        vars(ssv)[name] = getattr(ssv, name)
    pdoc.render.configure(docformat="google", footer_text=f"ssv {ssv.__version__}")
    pdoc.pdoc("ssv", *(f"ssv.{room}" for room in ROOMS), output_directory=folder)
    print(folder / "index.html")


if __name__ == "__main__":
    main()
