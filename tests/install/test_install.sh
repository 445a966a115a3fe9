#!/bin/sh
# Installs the library into an empty prefix, builds train.c against what is there, and trains.
#
#     test_install.sh pkg_config|cmake BUILD COMPILER FIXTURE        in an empty working folder
#
# CFLAGS and LDFLAGS are those the library needs of its users (the sanitizers).
set -eu
way=$1 build=$2 compiler=$3 fixture=$4
source=$(cd "$(dirname "$0")" && pwd)
prefix=$PWD/prefix

rm -rf "$prefix" program train
cmake --install "$build" --prefix "$prefix" >install.log
LD_LIBRARY_PATH=$(dirname "$(find "$prefix" -name libongrad.so)")
export LD_LIBRARY_PATH
for file in man/man1/ongrad-train.1 bash-completion/completions/ongrad zsh/site-functions/_ongrad fish/vendor_completions.d/ongrad.fish; do
    test -s "$prefix/share/$file" || { echo "share/$file is not installed"; exit 1; }
done

case $way in
pkg_config)
    PKG_CONFIG_PATH=$LD_LIBRARY_PATH/pkgconfig
    export PKG_CONFIG_PATH
    # shellcheck disable=SC2046,SC2086
    "$compiler" -std=c99 -Wall -Wextra -Werror ${CFLAGS-} "$source/train.c" -o train $(pkg-config --cflags --libs ongrad)
    ./train "$fixture"
    ;;
cmake)
    cmake -S "$source" -B program -DCMAKE_C_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$prefix" >configure.log
    cmake --build program >build.log
    program/train "$fixture"
    ;;
esac
