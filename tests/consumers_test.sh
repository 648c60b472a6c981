#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Programs outside of the tree find, link and run zenwoq: examples/hello.c and, with the library of formats, examples/checkpoint.c as
# C99 and as C++17, warnings being errors, with the shared and the static libraries.
#   usage: consumers_test.sh pkg-config|cmake|meson BUILD-FOLDER
set -euo pipefail
kind=$1 build=$(realpath "$2")
root=$(cd "$(dirname "$0")/.." && pwd)
meson=$("$root/tools/install_packages.sh" --print-meson)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail() { echo "$kind: $*"; exit 1; }

# Installed under DESTDIR, as packagers do: nothing may hold the path of the prefix.
install_library() {
  "$meson" install -C "$build" --no-rebuild --quiet --destdir "$folder/root"
  library_folder=$(dirname "$(find "$folder/root" -name libzenwoq.so)")
  export LD_LIBRARY_PATH=$library_folder
}

# runs PROGRAM shared|static: it works, and needs the shared library by its soname or not at all
runs() {
  [ "$("./$1")" = "y[0] = -512" ] || fail "$1 printed something else"
  local needs=static
  ! readelf --dynamic "$1" | grep -q 'NEEDED.*\[libzenwoq\.so\.0\]' || needs=shared
  [ "$needs" = "$2" ] || fail "$1 is linked with the $needs library"
}

# reads PROGRAM shared|static: the same of a program that reads checkpoints
reads() {
  [ "$("./$1" "$root/tests/fixtures/mixed.gguf" | grep -c ', gguf q4_[01], int4 ')" = 2 ] || fail "$1 read something else"
  local needs=static
  ! readelf --dynamic "$1" | grep -q 'NEEDED.*\[libzenwoq-formats\.so\.0\]' || needs=shared
  [ "$needs" = "$2" ] || fail "$1 is linked with the $needs library of formats"
}

with_pkg_config() {
  install_library
  export PKG_CONFIG_LIBDIR=$library_folder/pkgconfig PKG_CONFIG_SYSROOT_DIR=$folder/root
  # No other package may be asked for: the library's build needs some, its users do not.
  local shared static strict="-Wall -Wextra -pedantic -Werror" hello=$root/examples/hello.c checkpoint=$root/examples/checkpoint.c
  shared=$(pkg-config --cflags --libs zenwoq)
  static=$(pkg-config --static --cflags --libs zenwoq)
  # shellcheck disable=SC2086
  {
    cc -std=c99 $strict "$hello" -o c_shared $shared
    c++ -std=c++17 $strict -x c++ "$hello" -o cpp_shared $shared
    cc -std=c99 $strict -DZENWOQ_STATIC -static "$hello" -o c_static $static
    c++ -std=c++17 $strict -DZENWOQ_STATIC -static -x c++ "$hello" -o cpp_static $static
    cc -std=c99 $strict "$checkpoint" -o checkpoint_shared $(pkg-config --cflags --libs zenwoq-formats)
    cc -std=c99 $strict -DZENWOQ_STATIC -static "$checkpoint" -o checkpoint_static $(pkg-config --static --cflags --libs zenwoq-formats)
    # The library of formats in the program and libzenwoq beside it; all of both in the program.
    local flags=$(pkg-config --cflags zenwoq-formats) formats=$library_folder/libzenwoq-formats.a
    cc -std=c99 $strict $flags "$checkpoint" -o checkpoint_mixed "$formats" $shared -lstdc++ -lm
    cc -std=c99 $strict $flags "$checkpoint" -o checkpoint_whole -DZENWOQ_STATIC -Wl,--whole-archive "$formats" "$library_folder/libzenwoq.a" \
      -Wl,--no-whole-archive -lstdc++ -lm -lpthread -ldl
  }
  for kind in shared static; do reads checkpoint_$kind $kind; done
  for kind in mixed whole; do reads checkpoint_$kind static; done
  for language in c cpp; do runs ${language}_shared shared; runs ${language}_static static; done
  [ "$(pkg-config --modversion zenwoq)" = "$("$root/tools/version.sh")" ] || fail "another version"
}

with_cmake() {
  command -v cmake >/dev/null || { echo "SKIPPED: find_package(zenwoq) is NOT tested, there is no cmake"; exit 77; }
  install_library
  mv root moved  # the package finds itself
  export LD_LIBRARY_PATH=${library_folder/root/moved}
  cmake -S "$root/tests/consumers/cmake" -B cmake -DHELLO="$root/examples/hello.c" -DCHECKPOINT="$root/examples/checkpoint.c" -DCMAKE_PREFIX_PATH="$folder/moved/usr/local;$folder/moved/usr" >log 2>&1 ||
    { cat log; fail "cmake cannot configure"; }
  cmake --build cmake >log 2>&1 || { cat log; fail "cmake cannot build"; }
  cd cmake
  for language in c cpp; do runs ${language}_zenwoq shared; runs ${language}_static static; done
  for language in c cpp; do reads ${language}_formats shared; reads ${language}_formats_static static; done
}

with_meson() {
  cp "$root/tests/consumers/meson/meson.build" .
  cp "$root/examples/hello.c" hello.c
  cp "$root/examples/hello.c" hello.cpp
  cp "$root/examples/checkpoint.c" .
  mkdir subprojects
  ln -s "$root" subprojects/zenwoq
  "$meson" setup out -Dbuildtype=plain >log 2>&1 || { cat log; fail "meson cannot configure"; }
  ninja -C out >log 2>&1 || { cat log; fail "ninja cannot build"; }
  cd out
  for source in hello_c hello_cpp; do runs ${source}_shared shared; runs ${source}_static static; done
  for kind in shared static; do reads checkpoint_$kind $kind; done
}

"with_${kind/-/_}"
echo "ok: $1"
