"""All that relies on names which torch and DeepSpeed do not promise to keep, and the versions it was checked with.

Nothing else in this package uses such names. A version that was not checked is refused: its tests are
``tests/parallel`` and ``tests/test_installed.py``, and ``CHECKED`` is where a new one is added after they pass.
"""

from __future__ import annotations

from importlib.metadata import version

from parallel_ser.errors import UserError

CHECKED = {"torch": ("2.14",), "deepspeed": ("0.19",)}
"""By package, the releases that the code here was checked with."""


def require_checked(package: str) -> None:
    """Refuse a release that was not checked.

    Raises:
        UserError: names the release that is installed and those that work.
    """
    installed = version(package)
    if ".".join(installed.split(".")[:2]) not in CHECKED[package]:
        wanted = " or ".join(f"{release}.*" for release in CHECKED[package])
        raise UserError(
            f"{package} {installed} is installed, and its inner interfaces were checked with {wanted} alone: "
            f"pip install '{package}=={wanted.split()[0]}'."
        )
