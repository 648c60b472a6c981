# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The wheel alone: in an environment without torch and NumPy, away from the source tree; its bytes, tag and sdist."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import ROOT

PROGRAM = """
import array, sys
import zenwoq

codes = memoryview(bytes([0x9A]) * (70 * 24)).cast("B", (70, 24))
scales = memoryview(array.array("f", [0.5] * 70))
weight = zenwoq.Weight(codes, scales)
y = array.array("f", bytes(4 * 70))
zenwoq.linear(array.array("f", [1.0] * 48), weight, out=y)
assert list(y) == [36.0] * 70, y
assert zenwoq.cpu_info().cache_source in ("cpuid", "fallback")
mapped = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
package = zenwoq.__path__[0]
own = {path for path in mapped if path.startswith(package)}
assert own == {f"{package}/libzenwoq.so"}, own
header = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
with open("a.safetensors", "wb") as file:
    file.write(len(header).to_bytes(8, "little") + header + bytes(4))
with zenwoq.load("a.safetensors") as checkpoint:
    assert [left.name for left in checkpoint.left_alone] == ["a"]
mapped = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
own = {path for path in mapped if path.startswith(package)}
assert own == {f"{package}/libzenwoq.so", f"{package}/libzenwoq-formats.so"}, own
# of the system only what every Linux has, and what Python itself is linked with
system = {"ld-linux-x86-64", "libc", "libdl", "libgcc_s", "libm", "libpthread", "librt", "libstdc++", "libutil"}
others = {path.rpartition("/")[2].partition(".so")[0] for path in mapped - own if not path.startswith(sys.base_prefix)}
assert all(name in system or name.startswith(("libffi", "libpython")) for name in others), others
assert "torch" not in sys.modules and "numpy" not in sys.modules
try:
    import zenwoq.torch
except ModuleNotFoundError as error:
    assert error.name == "torch", error
else:
    raise AssertionError("torch is here")
print(zenwoq.__version__)
"""


def build(source: Path, folder: Path, build_dir: Path, **environment: str) -> Path:
    """What ``pip wheel`` makes of a source tree or archive."""
    tools = str(Path(sys.executable).parent)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
            *(f"--config-settings=build-dir={build_dir}", f"--wheel-dir={folder}", str(source)),
        ],
        check=True,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", **environment},
    )
    (path,) = folder.glob("zenwoq-*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), ROOT / "build-python")


def test_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0].split("-")[0] for name in names}
    assert top == {"zenwoq"}
    binaries = {name for name in names if not name.endswith((".py", ".typed")) and "dist-info" not in name}
    libraries = {"libzenwoq.so", "libzenwoq-formats.so", "_torch_ops.so"}
    assert binaries == {f"zenwoq/{name}" for name in libraries}
    assert "zenwoq/py.typed" in names and "zenwoq/torch/__init__.py" in names


def test_exports_only_its_own_symbols(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)

    def exported(name: str) -> set[str]:
        command = ["nm", "-D", "--defined-only", str(tmp_path / "zenwoq" / name)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return {line.split()[-1].split("@")[0] for line in lines}

    for library, symbols, version in (
        ("libzenwoq.so", "exported_symbols.txt", "ZENWOQ_0"),
        ("libzenwoq-formats.so", "exported_symbols_formats.txt", "ZENWOQ_FORMATS_0"),
    ):
        assert exported(library) - {version} == set((ROOT / "tests" / symbols).read_text().split())
    assert exported("_torch_ops.so") == set()


def test_runs_in_a_clean_environment(wheel, tmp_path):
    folder = tmp_path / "clean"
    venv.create(folder, with_pip=False)
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True)
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    result = subprocess.run(
        [python, "-I", "-c", PROGRAM], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_is_reproducible(wheel, tmp_path):
    """The same bytes later, from the sdist, in a build folder and with torch elsewhere."""
    if git("status", "--porcelain", "--untracked-files=no"):
        pytest.skip("the sdist has committed files only, and some here are changed")
    program = "import sys; sys.path.insert(0, 'tools'); import python_backend; python_backend.build_sdist(sys.argv[1])"
    tools = str(Path(sys.executable).parent)
    path = f"{tools}:{os.environ['PATH']}"
    command = [sys.executable, "-c", program, str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "PATH": path})
    (sdist,) = tmp_path.glob("zenwoq-*.tar.gz")
    site = tmp_path / "site"
    site.mkdir()
    (site / "torch").symlink_to(Path(torch.__file__).parent)
    again = build(sdist, tmp_path / "wheel", tmp_path / "build", PYTHONPATH=str(site))
    assert again.name == wheel.name
    first, second = zipfile.ZipFile(wheel), zipfile.ZipFile(again)
    differing = [name for name in first.namelist() if first.read(name) != second.read(name)]
    assert not differing
    assert wheel.read_bytes() == again.read_bytes()


def test_manylinux(wheel, tmp_path):
    """The wheel of a release: the same bytes twice, no other library in it, and the tag that auditwheel finds."""
    released = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        command = [str(ROOT / "tools" / "build_wheel.sh"), str(folder)]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        released.append(Path(result.stdout.strip()))
    path = released[0]
    assert path.read_bytes() == released[1].read_bytes()

    def files(archive: Path) -> dict[str, bytes]:
        opened = zipfile.ZipFile(archive)
        return {name: opened.read(name) for name in opened.namelist() if "dist-info" not in name and name[-1] != "/"}

    assert files(path) == files(wheel)
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(path)]
    shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert shown["external_libs"].keys() == {"libtorch_cpu.so"}, "torch alone is the user's"
    assert shown["sym_tag"].startswith("manylinux_2_") and path.stem.endswith(shown["sym_tag"])
