"""The build: what it makes, when it makes it, and what it says when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from asyncvddk.engine import build

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> build.Product:
    """Return a product of one line of C in a package of its own."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/one.c").write_text("int one (void);\nint one (void) { return 1; }\n", "utf-8")
    (tmp_path / "_version.py").write_text('__version__ = "1.2"\n', "utf-8")
    monkeypatch.setattr(build, "PACKAGE", tmp_path)
    return build.Product(target="lib/libone.so", sources="src")


def test_product_is_built_only_when_a_source_is_newer(small: build.Product, tmp_path: Path) -> None:
    """A current product is left alone; a touched source or force replaces it by a new file."""
    options = build.Options(out=tmp_path)
    target = build.build_product(small, options)
    first = target.stat().st_ino
    os.utime(target, ns=(2**62, 2**62))
    assert build.build_product(small, options).stat().st_ino == first
    os.utime(target, ns=(0, 0))
    second = build.build_product(small, options).stat().st_mtime_ns
    assert second > 0
    os.utime(target, ns=(2**62, 2**62))
    assert build.build_product(small, options._replace(force=True)).stat().st_mtime_ns < 2**62
    assert list(target.parent.iterdir()) == [target]


def test_failed_compilation_leaves_the_old_product(small: build.Product, tmp_path: Path) -> None:
    """The target is replaced by a finished file only; nothing half-made stays beside it."""
    target = build.build_product(small, build.Options(out=tmp_path))
    good = target.read_bytes()
    (tmp_path / "src/one.c").write_text("int one (\n", "utf-8")
    with pytest.raises(build.BuildError, match="compiler failed"):
        build.build_product(small, build.Options(out=tmp_path, force=True))
    assert target.read_bytes() == good
    assert list(target.parent.iterdir()) == [target]


def test_warning_fails_only_where_asked(small: build.Product, tmp_path: Path) -> None:
    """Users' installations tolerate a warning of a newer compiler, developers' builds do not."""
    (tmp_path / "src/one.c").write_text("static int unused;\n", "utf-8")
    build.build_product(small, build.Options(out=tmp_path))
    with pytest.raises(build.BuildError):
        build.build_product(small, build.Options(out=tmp_path, force=True, werror=True))


def test_without_any_compiler_the_message_names_two_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a compiler of the system nor ziglang: the error says what to install."""
    monkeypatch.setattr(build, "system_compiler", lambda: None)
    monkeypatch.setattr(build, "zig_command", lambda: None)
    with pytest.raises(build.BuildError, match=r"install gcc or clang, or run: pip install ziglang"):
        build.compiler("")


def test_wrong_compiler_is_named(small: build.Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CC that does not exist is an error with its name."""
    monkeypatch.setattr(build, "system_compiler", lambda: ("no-such-cc",))
    with pytest.raises(build.BuildError, match="no-such-cc: No such file or directory; is CC set"):
        build.build_product(small, build.Options(out=tmp_path))


def test_platform_names_zigs_target() -> None:
    """Tags of wheels are translated; others, and those too old for the sources, are refused."""
    assert build.zig_target("manylinux_2_28_aarch64") == "aarch64-linux-gnu.2.28"
    assert build.zig_target("manylinux_2_34_x86_64") == "x86_64-linux-gnu.2.34"
    for wrong in ("manylinux_2_17_x86_64", "win_amd64", "manylinux_2_28_riscv64"):
        with pytest.raises(build.BuildError, match="expected as manylinux_2_28_x86_64"):
            build.zig_target(wrong)


def test_sanitised_build_is_kept_out_of_the_package() -> None:
    """A library that needs a sanitizer's run time must not become the one that users load."""
    with pytest.raises(build.BuildError, match="--out"):
        build.build(build.Options(sanitize="address"))


def test_unversioned_name_is_a_relative_link(tmp_path: Path) -> None:
    """The folder can be moved or copied into a container; a wrong file of that name is replaced."""
    library = tmp_path / build.SONAME
    (tmp_path / "libvixDiskLib.so").write_bytes(b"old")
    for _ in range(2):
        build.link_unversioned(library)
    assert str((tmp_path / "libvixDiskLib.so").readlink()) == build.SONAME


def test_script_runs_without_the_package_installed(library: Path) -> None:
    """``python build.py`` needs the standard library only."""
    del library  # built: nothing is left to do
    done = subprocess.run([sys.executable, "-I", "-S", build.__file__], capture_output=True, text=True, check=True)
    assert [line.rsplit("/", 1)[1] for line in done.stdout.splitlines()] == [build.SONAME, "lib_core.so"]
