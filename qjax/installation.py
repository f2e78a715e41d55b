"""Whether another distribution has taken the name of this package.

The package index has a distribution `qjax` of somebody else (Tsallis statistics). It installs a package of the same
name, which hides ours, or whose files end up among ours: whichever was installed last overwrites the other's.
"""

import sys
from importlib import metadata
from pathlib import Path

from qjax.checks import UserError

NAME = "qjax-quantum"  # of our distribution; `project.name` in pyproject.toml


def check_alone(package: Path = Path(__file__).parent) -> None:
    """Raises a `UserError` where the index's distribution `qjax` is imported, or lies in our folder, `package`."""
    try:
        other = metadata.distribution("qjax")
    except metadata.PackageNotFoundError:
        return
    folder = Path(str(other.locate_file("qjax"))).resolve()
    imported = Path(sys.modules["qjax"].__path__[0]).resolve()
    if folder in (package.resolve(), imported):
        raise UserError(
            f"The distribution `qjax` {other.version} of the package index is another project, and it is installed "
            f"too, in {folder}, where it hides or overwrites this one. "
            f"Run `pip uninstall qjax {NAME}`, then install {NAME} again."
        )
