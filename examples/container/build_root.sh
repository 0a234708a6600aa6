#!/bin/sh
# Fills DIR with all that a container needs to run a model and nothing else: Python, minirnn, and the libraries both load.
#
#     sh build_root.sh DIR REQUIREMENT...      for example: sh build_root.sh root minirnn
#
# DIR can be the whole of an image (FROM scratch, see Dockerfile) or be entered with chroot. PYTHON names the interpreter.
set -eu
root=$1
shift
python=${PYTHON:-python3}
mkdir -p "$root/tmp" "$root/usr/bin"
where() { "$python" -c "import sys, sysconfig; print($1)"; }

# the interpreter and its library, at the places where it looks for them; not what only developers use
binary=$(where 'sys._base_executable') stdlib=$(where 'sysconfig.get_path("stdlib")')
mkdir -p "$root$stdlib" "$root$(dirname "$binary")"
cp -L "$binary" "$root$binary"
ln -sf "$binary" "$root/usr/bin/python3"
tar -C "$stdlib" -cf - --exclude=__pycache__ --exclude=./site-packages --exclude='./config-*' --exclude=./test \
    --exclude=./idlelib --exclude=./lib2to3 --exclude=./tkinter --exclude=./turtledemo --exclude=./ensurepip \
    --exclude=./distutils \
    --exclude=./pydoc_data --exclude=./sqlite3 --exclude='*/_sqlite3*' --exclude='*/_tkinter*' --exclude='*/_curses*' \
    --exclude='*/readline*' --exclude='*/nis.*' --exclude='*/_test*.so' --exclude='*/test' --exclude='*/tests' . | tar -C "$root$stdlib" -xf -

# minirnn and what it depends on, without the tests of others
packages=$root$stdlib/site-packages
"$python" -m pip install --quiet --no-compile --target "$packages" "$@"
find "$packages" -type d \( -name tests -o -name include -o -name bin \) -prune -exec rm -r {} +
find "$packages" \( -name '*.pyi' -o -name '*.a' \) -delete

# every shared library that any of it loads
find "$root" -type f \( -name '*.so' -o -name '*.so.*' -o -path "$root$binary" \) -exec ldd {} + 2>/dev/null |
    awk '$2 == "=>" && $3 ~ /^\// {print $3} $1 ~ /^\/.*ld-/ {print $1}' | sort -u |
    while read -r library; do
        case $library in "$root"*) continue ;; esac
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done

# machine code without what debuggers read: of an interpreter built by hand that is most of it
if command -v strip >/dev/null; then
    find "$root" -type f \( -name 'libpython*' -o -path "*/lib-dynload/*.so" \) -exec strip --strip-unneeded {} +
fi

# modules compiled once, since a container cannot keep what it compiles, and without their sources
"$python" -m compileall -q -b -j 0 -s "$root" "$root$stdlib"
find "$root$stdlib" -name '*.py' -delete
