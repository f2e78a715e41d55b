"""The wheel, tried as a user would: installed into an empty folder, used from another one."""

import os
import pathlib
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

import qjax.quantum
from qjax import installation
from qjax.checks import UserError

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: setuptools leaves build/ and *.egg-info beside pyproject.toml
    for name in ("qjax", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "main.py"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--quiet", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
    return folder


def _run(installed, folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-P", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_wheel_holds_the_package_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"qjax"}
    files = {str(path.relative_to(ROOT / "qjax")) for path in (ROOT / "qjax").rglob("*.py")}
    files |= {f"configs/{path.relative_to(ROOT / 'configs')}" for path in (ROOT / "configs").rglob("*.py")}
    assert {name.removeprefix("qjax/") for name in names if name.startswith("qjax/")} == files


def test_package_is_imported_from_any_folder(installed, tmp_path):
    done = _run(installed, tmp_path, "-c", "import qjax; print(qjax.__file__, qjax.__version__)")
    assert done.stdout.split() == [str(installed / "qjax" / "__init__.py"), qjax.__version__], done.stderr


def test_command_takes_a_configuration_by_its_name(installed, tmp_path):
    script = installed / "bin" / "qjax"
    done = _run(installed, tmp_path, str(script), "--mode=algorithm", "--config=grover", "--config.num_qubits=3")
    assert done.returncode == 0, done.stderr
    assert "success probability" in done.stdout
    missing = _run(installed, tmp_path, str(script), "--config=sentiment_mlq", "--workdir=w")
    assert missing.returncode == 2
    assert "Did you mean 'sentiment_mlp'?" in missing.stderr


def test_other_distribution_of_the_name_is_refused(tmp_path, monkeypatch):
    (tmp_path / "qjax").mkdir()
    (tmp_path / "qjax-9.9.dist-info").mkdir()
    (tmp_path / "qjax-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: qjax\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    installation.check_alone()  # it lies elsewhere, and ours was imported
    message = r"`qjax` 9\.9 .* another project"
    with pytest.raises(UserError, match=message):
        installation.check_alone(tmp_path / "qjax")
    monkeypatch.setattr(qjax, "__path__", [str(tmp_path / "qjax")])
    with pytest.raises(UserError, match=message):
        installation.check_alone()


def test_distribution_is_named_as_the_message_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == installation.NAME != "qjax"


def test_quantum_lists_its_public_names_only():
    names = dir(qjax.quantum)
    assert {"Circuit", "explain", "expectation"} <= set(names)
    source = (ROOT / "qjax" / "quantum" / "__init__.py").read_text(encoding="utf-8")
    assert all(f"import {name} as {name}\n" in source for name in names)
