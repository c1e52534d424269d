"""Compile the engine and the threads' core: as a command, and as hatchling's build hook.

``python asyncvddk/engine/build.py`` builds what is older than its sources, in place:

- ``engine/lib64/libvixDiskLib.so.8`` and beside it a relative link ``libvixDiskLib.so`` for clients that look
  for the unversioned name. A wheel holds no links and so not this one; running this command there makes it.
- ``native/lib_core.so``

The compiler is ``$CC``, else ``cc``, ``gcc`` or ``clang``, else the ``ziglang`` wheel. Only the standard
library is needed; everything that concerns hatchling stands at the end.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PACKAGE: Final = Path(__file__).resolve().parents[1]
"""The folder ``asyncvddk``."""

SONAME: Final = "libvixDiskLib.so.8"

OLDEST_GLIBC_MINOR: Final = 28

COMMON_FLAGS: Final = ("-std=c17", "-D_GNU_SOURCE=", "-fPIC", "-pthread", "-fvisibility=hidden")
WARNING_FLAGS: Final = ("-Wall", "-Wextra")
RELEASE_FLAGS: Final = ("-O2", "-g0", "-s", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2")
SANITIZE_FLAGS: Final = ("-O1", "-g", "-fno-omit-frame-pointer")
LINK_FLAGS: Final = ("-shared", "-Wl,-z,relro", "-Wl,-z,now")

PROBE: Final = '#include <pthread.h>\n#include <stdio.h>\nint probe (void) { return puts (""); }\n'


class BuildError(Exception):
    """The C part cannot be built; the text says what to do."""


class Product(NamedTuple):
    """One shared object. Paths are relative to the package."""

    target: str
    sources: str
    """Folder of its C files, and of the headers that they name by their path from here."""
    headers: tuple[str, ...] = ()
    """Folders to search for headers besides."""
    link: tuple[str, ...] = ()
    """Further flags for the linker."""

    def depends_on(self) -> Iterable[Path]:
        """Yield the files whose change calls for a new build."""
        for folder in (self.sources, *self.headers):
            yield from sorted((PACKAGE / folder).rglob("*.[ch]"))
        yield from (PACKAGE / self.sources).glob("*.map")
        yield PACKAGE / "_version.py"
        yield Path(__file__)


ENGINE: Final = Product(
    target=f"engine/lib64/{SONAME}",
    sources="engine/src",
    headers=("engine/include",),
    link=("-ldl", f"-Wl,-soname,{SONAME}", f"-Wl,--version-script={PACKAGE / 'engine/src/exports.map'}"),
)
CORE: Final = Product(target="native/lib_core.so", sources="native/core", link=("-Wl,-soname,lib_core.so",))
PRODUCTS: Final = (ENGINE, CORE)


class Options(NamedTuple):
    """How to build."""

    out: Path = PACKAGE
    """Folder that stands for the package in the products' paths."""
    force: bool = False
    werror: bool = False
    sanitize: str = ""
    """As for ``-fsanitize``, with commas."""
    platform: str = ""
    """Platform tag of a wheel, as ``manylinux_2_28_aarch64``; empty: this machine."""


def zig_command() -> list[str] | None:
    """Return the compiler of the ``ziglang`` wheel if it is installed for this interpreter."""
    return [sys.executable, "-m", "ziglang", "cc"] if importlib.util.find_spec("ziglang") else None


def compiles(command: Sequence[str]) -> bool:
    """Tell whether the compiler makes a shared object; one without the C library's headers does not."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [*command, "-shared", "-fPIC", "-pthread", "-x", "c", "-", "-o", f"{folder}/probe.so"]
        try:
            done = subprocess.run(arguments, input=PROBE, text=True, capture_output=True, check=False)
        except OSError:
            return False
        return done.returncode == 0


@functools.cache
def system_compiler() -> tuple[str, ...] | None:
    """Return the command of ``$CC`` or the first compiler of the system that works."""
    if "CC" in os.environ:
        return tuple(shlex.split(os.environ["CC"]))
    return next(((name,) for name in ("cc", "gcc", "clang") if shutil.which(name) and compiles([name])), None)


def zig_target(platform: str) -> str:
    """Return zig's name of a wheel's platform: ``manylinux_2_28_x86_64`` is ``x86_64-linux-gnu.2.28``.

    The sources need a glibc of 2.26 or newer; 2.28 is the oldest such that wheels are named after.
    """
    match = re.fullmatch(r"manylinux_2_(\d+)_(x86_64|aarch64)", platform)
    if match is None or int(match[1]) < OLDEST_GLIBC_MINOR:
        raise BuildError(f"platform {platform!r}: expected as manylinux_2_28_x86_64, for x86_64 or aarch64")
    return f"{match[2]}-linux-gnu.2.{match[1]}"


def needs_zig(platform: str) -> bool:
    """Tell whether the build wants the ``ziglang`` wheel: for another system, or without a compiler."""
    return bool(platform) or system_compiler() is None


def compiler(platform: str) -> list[str]:
    """Return the command line up to the flags."""
    if not needs_zig(platform):
        return list(system_compiler() or ())
    command = zig_command()
    if command is None:
        raise BuildError("no C compiler: install gcc or clang, or run: pip install ziglang")
    return [*command, "-target", zig_target(platform)] if platform else command


def version() -> str:
    """Return the package's version, read without importing the package."""
    path = PACKAGE / "_version.py"
    match = re.search(r'^__version__ = "([^"]+)"$', path.read_text("utf-8"), re.MULTILINE)
    if match is None:
        raise BuildError(f'{path}: no line __version__ = "..."')
    return match[1]


def flags(options: Options) -> list[str]:
    """Return the flags that all products share."""
    found = [*COMMON_FLAGS, *WARNING_FLAGS, f'-DENGINE_VERSION="{version()}"', *LINK_FLAGS]
    found += SANITIZE_FLAGS if options.sanitize else RELEASE_FLAGS
    # A sanitizer's own functions come with the program that loads the object.
    found.append(f"-fsanitize={options.sanitize}" if options.sanitize else "-Wl,-z,defs")
    return [*found, "-Werror"] if options.werror else found


def is_current(product: Product, target: Path) -> bool:
    """Tell whether the target is newer than all it depends on."""
    if not target.exists():
        return False
    built = target.stat().st_mtime_ns
    return all(path.stat().st_mtime_ns < built for path in product.depends_on() if path.exists())


def command_line(product: Product, options: Options, output: Path) -> list[str]:
    """Return the command that compiles and links a product into a file."""
    sources = sorted((PACKAGE / product.sources).rglob("*.c"))
    if not sources:
        raise BuildError(f"{PACKAGE / product.sources}: no C files; is the source tree complete?")
    includes = [f"-I{PACKAGE / folder}" for folder in (product.sources, *product.headers)]
    names = [str(path) for path in sources]
    return [*compiler(options.platform), *flags(options), *includes, *product.link, *names, "-o", str(output)]


def run(command: Sequence[str]) -> None:
    """Run the compiler; what it says goes to stderr, warnings included."""
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=False)
    except OSError as exc:
        raise BuildError(f"{command[0]}: {exc.strerror}; is CC set to a C compiler?") from exc
    sys.stderr.write(done.stdout + done.stderr)
    if done.returncode:
        raise BuildError(f"compiler failed with exit code {done.returncode}: {shlex.join(command)}")


def build_product(product: Product, options: Options) -> Path:
    """Build one product unless it is current; whoever has the old file loaded keeps it."""
    target = options.out / product.target
    if not options.force and is_current(product, target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        run(command_line(product, options, fresh))
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return target


def link_unversioned(library: Path) -> None:
    """Make ``libvixDiskLib.so`` beside the library, relative so that the folder can be moved."""
    link = library.with_name("libvixDiskLib.so")
    if link.is_symlink() and link.readlink() == Path(library.name):
        return
    link.unlink(missing_ok=True)
    link.symlink_to(library.name)


def build(options: Options) -> list[Path]:
    """Build all products that are older than their sources and return their paths."""
    if options.sanitize and options.out == PACKAGE:
        raise BuildError("a sanitised build cannot stand in the package: name another folder by --out")
    built = [build_product(product, options) for product in PRODUCTS]
    link_unversioned(built[0])
    return built


def parse_arguments(arguments: Sequence[str] | None) -> Options:
    """Read the command line; the environment gives the defaults."""
    sanitize, werror = os.environ.get("ASYNCVDDK_SANITIZE", ""), os.environ.get("ASYNCVDDK_WERROR") == "1"
    parser = argparse.ArgumentParser(description="Compile asyncvddk's engine and core.")
    parser.add_argument("--force", action="store_true", help="build even what is current")
    parser.add_argument("--werror", action="store_true", default=werror, help="a warning is an error")
    parser.add_argument("--out", type=Path, default=PACKAGE, help="folder to build in, not the package")
    parser.add_argument("--sanitize", default=sanitize, help="address,undefined or thread")
    parser.add_argument("--platform", default="", help="another system, as manylinux_2_28_aarch64")
    found = parser.parse_args(arguments)
    return Options(found.out.resolve(), found.force, found.werror, found.sanitize, found.platform)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    try:
        for path in build(parse_arguments(arguments)):
            sys.stdout.write(f"{path}\n")
    except BuildError as exc:
        sys.stderr.write(f"build.py: {exc}\n")
        return 1
    return 0


def platform_tag(platform: str) -> str:
    """Return the wheel's platform tag; without a wish it is this machine's, unfit for other distributions."""
    return platform or sysconfig.get_platform().replace("-", "_").replace(".", "_")


if TYPE_CHECKING or importlib.util.find_spec("hatchling"):
    from hatchling.builders.config import BuilderConfig
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class CustomBuildHook(BuildHookInterface[BuilderConfig]):
        """Put the compiled files into the wheel and name the wheel after its platform.

        ``ASYNCVDDK_PLATFORM`` (as ``manylinux_2_28_aarch64``) builds for another system with zig.
        """

        _folder: tempfile.TemporaryDirectory[str] | None = None

        def dependencies(self) -> list[str]:
            """Ask for zig where there is no other compiler."""
            wheel = self.target_name == "wheel"
            return ["ziglang"] if wheel and needs_zig(os.environ.get("ASYNCVDDK_PLATFORM", "")) else []

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Compile: for an editable installation in place, for a wheel in a folder of its own."""
            if self.target_name != "wheel":
                return
            platform = os.environ.get("ASYNCVDDK_PLATFORM", "")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_tag(platform)}"
            if version == "editable":
                build(Options())
                return
            self._folder = tempfile.TemporaryDirectory(prefix="asyncvddk-build-")
            options = Options(out=Path(self._folder.name), platform=platform)
            paths = [(build_product(product, options), product.target) for product in PRODUCTS]
            build_data["force_include"].update({str(path): f"asyncvddk/{target}" for path, target in paths})

        def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
            """Remove the folder."""
            del version, build_data, artifact_path
            if self._folder is not None:
                self._folder.cleanup()


if __name__ == "__main__":
    sys.exit(main())
