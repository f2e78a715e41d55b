"""Who may import whom: reads every file's imports, and fails on an arrow that the design does not have."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = [*sorted((ROOT / "qjax").rglob("*.py")), ROOT / "main.py", *sorted((ROOT / "configs").rglob("*.py"))]
MAX_LINES = 400

# types, checks, untrusted <- quantum <- algorithms <- models; data, evaluation beside quantum; files beside checks;
# models, data, evaluation <- training <- studies; quantum, algorithms <- export; everything <- modes <- main.
BASE = {"types", "checks", "untrusted"}
WRITING = BASE | {"files"}
QUANTUM = BASE | {"quantum"}
ALGORITHMS = QUANTUM | {"algorithms"}
MODELS = ALGORITHMS | WRITING | {"models"}
TRAINING = MODELS | {"data", "evaluation", "signals", "training"}
STUDIES = TRAINING | {"studies"}
MODES = STUDIES | {"export", "visualization", "config", "config_schema", "algorithm_schema", "modes", "qjax"}
MAIN = MODES | {"main", "installation"}
ALLOWED = {
    "qjax": {"installation"},
    "installation": {"checks"},
    "types": {"types"},
    "checks": {"checks"},
    "signals": {"signals"},
    "untrusted": {"checks", "untrusted"},
    "files": {"checks", "files"},
    "config_schema": BASE | {"configs", "config_schema"},
    "algorithm_schema": BASE | {"configs", "config_schema", "algorithm_schema"},
    "config": WRITING | {"configs", "config_schema", "algorithm_schema", "config"},
    "quantum": QUANTUM,
    "algorithms": ALGORITHMS,
    "models": MODELS,
    "data": WRITING | {"data"},
    "evaluation": BASE | {"evaluation"},
    "training": TRAINING,
    "studies": STUDIES,
    "export": ALGORITHMS | WRITING | {"export"},
    "visualization": QUANTUM | WRITING | {"visualization"},
    "modes": MODES,
    "main": MAIN,
    "configs": {"configs"},
}

# Libraries with one home.
HOMES = {
    "matplotlib": {"visualization"},
    "qiskit": {"export"},
    "qiskit_aer": {"export"},
    "qiskit_qasm3_import": {"export"},
    "flax.linen": {"models"},
    "ml_collections": {"config", "config_schema", "algorithm_schema", "modes", "configs"},
    "jax": set(ALLOWED)
    - {
        "qjax",
        "checks",
        "signals",
        "untrusted",
        "files",
        "config",
        "config_schema",
        "algorithm_schema",
        "configs",
        "main",
        "installation",
        "visualization",
    },
}
# The folders of qjax/quantum, each with those that it may import; its files at the top may import all of them.
CIRCUITS = {"circuits"}
STATES = CIRCUITS | {"states"}
MEASURE = STATES | {"measure"}
COMPILE = STATES | {"compile"}
ENGINES = MEASURE | COMPILE | {"engines"}
INSIDE_QUANTUM = {
    "circuits": CIRCUITS,
    "states": STATES,
    "measure": MEASURE,
    "templates": MEASURE | {"templates"},
    "compile": COMPILE,
    "engines": ENGINES,
    "engines.xla": ENGINES | {"engines.xla"},
    "engines.native.ir": ENGINES | {"engines.native.ir", "engines.native.table"},
    "engines.native.table": ENGINES | {"engines.native.table"},
    "engines.native.cpu": ENGINES | {f"engines.native{part}" for part in ("", ".ir", ".table", ".cpu")},
    "engines.native.cuda": ENGINES | {f"engines.native{part}" for part in ("", ".ir", ".table", ".cuda")},
    "engines.native": ENGINES | {f"engines.native{part}" for part in ("", ".ir", ".table", ".cpu", ".cuda")},
}
# Segments run other engines, the choice is above all engines, and what runs it above the choice; engines know none.
ABOVE_ENGINES = {f"qjax.quantum.engines.{name}" for name in ("segments", "choose", "simulation")}
# What the quantum core may know beside Python's own library.
QUANTUM_LIBRARIES = {"jax", "numpy", "qjax"}
# And its native code: llvmlite is not on every machine.
NATIVE, NATIVE_LIBRARIES = "qjax.quantum.engines.native", {"llvmlite"}
# Imported in functions: heavy, or not on every machine.
IN_FUNCTIONS = {"qiskit", "qiskit_aer", "qiskit_qasm3_import", "llvmlite", "grain", "huggingface_hub", "tensorboardX"}


def unit(module):
    """Returns the part that a dotted module belongs to: 'qjax.quantum.circuits.gates' -> 'quantum'."""
    parts = module.split(".")
    return parts[1] if parts[0] == "qjax" and len(parts) > 1 else parts[0]


def folder_in_quantum(module):
    """Returns the folder of a module: 'qjax.quantum.engines.xla.engine' -> 'engines.xla'; '' at the top."""
    inside = module.removeprefix("qjax.quantum.") + "."
    return max((name for name in INSIDE_QUANTUM if inside.startswith(name + ".")), key=len, default="")


def module_name(path, root=ROOT):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path, root=ROOT):
    """Returns every dotted name that the file imports, anywhere in it; of `from a import b` both a and a.b."""
    package = module_name(path, root).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "import_module":
            names += [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
    return names


def broken_rules(path, root=ROOT):
    """Returns 'PART imports NAME' for each import of the file that the lists above forbid."""
    home = unit(module_name(path, root))
    found = []
    for name in imported_modules(path, root):
        part = unit(name)
        is_ours = name.split(".")[0] in ("qjax", "configs", "main", "tests")
        is_package_itself = name == "qjax"  # `from qjax import checks` counts as qjax.checks
        if is_ours and not is_package_itself and part not in ALLOWED[home]:
            found.append(f"{home} imports {name}")
        for library, homes in HOMES.items():
            if (name == library or name.startswith(library + ".")) and home not in homes:
                found.append(f"{home} imports {name}")
        if home == "quantum" and name in MODULES:
            found += broken_inside_quantum(module_name(path, root), name)
        top = name.split(".")[0]
        known = QUANTUM_LIBRARIES | (NATIVE_LIBRARIES if module_name(path, root).startswith(NATIVE) else set())
        if home == "quantum" and top not in known and top not in sys.stdlib_module_names:
            found.append(f"{home} imports {name}")
    return found


MODULES = {module_name(path) for path in FILES if path.name != "__init__.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    assert unit(module_name(path)) in ALLOWED, "a new part: give it its arrows in the design and in this file"
    assert broken_rules(path) == []


def broken_inside_quantum(module, name):
    """Returns 'FOLDER imports NAME' where a module of qjax/quantum may not import another one."""
    own, other = folder_in_quantum(module), folder_in_quantum(name)
    is_top, above = own == "", name in ABOVE_ENGINES and module not in ABOVE_ENGINES
    allowed = is_top or (other in INSIDE_QUANTUM[own] and not above) or module in ABOVE_ENGINES
    return [] if allowed or not name.startswith("qjax.quantum.") else [f"{own} imports {name}"]


def imports_in_functions(path):
    """Returns the top packages that are imported inside functions of the file."""
    functions = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)]
    inner = [node for function in functions for node in ast.walk(function)]
    whole = [alias.name for node in inner if isinstance(node, ast.Import) for alias in node.names]
    parts = [node.module or "" for node in inner if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in whole + parts}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_import_few_libraries_and_nothing_of_ours(path):
    assert imports_in_functions(path) <= IN_FUNCTIONS


def circles(edges):
    """Returns the modules in a circle: those left when all ends of arrows are taken away, again and again."""
    left = dict(edges)
    while True:
        imported = set().union(*left.values()) if left else set()
        kept = {name: others for name, others in left.items() if others & left.keys() and name in imported}
        if len(kept) == len(left):
            return sorted(left)
        left = kept


def test_no_circle_of_imports():
    edges = {module_name(path): set(imported_modules(path)) & MODULES for path in FILES if path.name != "__init__.py"}
    assert circles(edges) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("qjax/quantum/a.py", "from qjax.models import heads"),
        ("qjax/quantum/a.py", "from qjax import models"),
        ("qjax/quantum/a.py", "from ..models import heads"),
        ("qjax/quantum/a.py", "import flax"),
        ("qjax/quantum/a.py", "def f():\n    import scipy.linalg"),
        ("qjax/quantum/a.py", "from llvmlite import ir"),
        ("qjax/quantum/circuits/a.py", "from qjax.quantum.states import apply"),
        ("qjax/quantum/states/a.py", "from qjax.quantum.compile.compiler import Program"),
        ("qjax/quantum/measure/a.py", "from qjax.quantum.simulate import run"),
        ("qjax/quantum/engines/xla/a.py", "from qjax.quantum.engines.choose import choose"),
        ("qjax/quantum/engines/xla/a.py", "from qjax.quantum.engines.native import load"),
        ("qjax/quantum/engines/native/ir/a.py", "from qjax.quantum.engines.native.cpu import whole_driver"),
        ("qjax/data/a.py", "import qjax.quantum"),
        ("qjax/data/a.py", "from qjax.training.state import TrainState"),
        ("qjax/evaluation/a.py", "from qjax.data import Dataset"),
        ("qjax/training/a.py", "from flax import linen as nn"),
        ("qjax/training/a.py", "from qjax.config import flatten"),
        ("qjax/training/a.py", "from qjax.modes import setup"),
        ("qjax/models/a.py", "from ml_collections import ConfigDict"),
        ("qjax/models/a.py", "from qjax.data import Dataset"),
        ("qjax/export/a.py", "from qjax.models import heads"),
        ("qjax/modes/a.py", "import matplotlib.pyplot as plt"),
        ("qjax/modes/a.py", "import main"),
        ("qjax/models/a.py", "def f():\n    from qiskit import qpy"),
        ("qjax/checks.py", "from qjax.types import Array"),
        ("qjax/config.py", "import jax"),
        ("configs/a.py", "from qjax import checks"),
        ("configs/a.py", "import jax.numpy as jnp"),
    ],
)
def test_each_forbidden_arrow_is_found(tmp_path, file, code):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code + "\n", encoding="utf-8")
    assert broken_rules(path, tmp_path)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("qjax/quantum/a.py", "import math\nimport jax.numpy as jnp\nfrom qjax import checks\nfrom .gates import x"),
        (
            "qjax/training/a.py",
            "from flax import struct\nfrom qjax.models.bert import Bert",
        ),
        ("qjax/export/a.py", "def f():\n    from qiskit import qpy\n    from qjax.quantum import Circuit"),
        ("qjax/modes/a.py", "import jax\nfrom qjax.config import flatten\nfrom qjax.export import files"),
        ("main.py", "from qjax.config import MODES"),
        ("configs/a.py", "from qjax.configs import default"),
    ],
)
def test_allowed_arrows_pass(tmp_path, file, code):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code + "\n", encoding="utf-8")
    assert broken_rules(path, tmp_path) == []


def test_importing_every_module_starts_no_backend_and_no_heavy_library():
    """JAX is given a platform that does not exist: whatever starts a backend raises."""
    modules = [module_name(path) for path in FILES]
    code = (
        "import importlib, sys, jax\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "assert 'qiskit' not in sys.modules, 'qiskit'\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
        "try:\n    jax.devices()\n"
        "except RuntimeError:\n    print('no backend was started')\n"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "nowhere"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.stdout == "no backend was started\n", result.stderr


def test_circuits_run_without_llvmlite():
    """XLA's code takes over: llvmlite is not on every machine."""
    program = """
import sys
sys.modules["llvmlite"] = None  # as if it were not there
import jax
from qjax.quantum import expectation, real_amplitudes, z_observables
circuit = real_amplitudes(3, 1)
params = {name: jax.numpy.ones(shape) for name, shape in circuit.parameter_shapes.items()}
print(jax.grad(lambda p: expectation(circuit, p, None, z_observables(3)).sum())(params))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
