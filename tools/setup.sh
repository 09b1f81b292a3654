# shellcheck shell=sh
# Sets up this checkout in .venv; ./quickstart and ./check read this file and call `set_up`.
#
# What is there already is kept: a stamp in .venv names the checkout's place and a checksum of all that
# decides its content, and where both still hold nothing is done. A set-up that was cut off leaves a mark
# and is redone from nothing. Progress goes to standard error, so that standard output stays the command's.
#
#   BENCH_MACHINE=cpu|nvidia|amd   what to set up for, where it should not be what is found here
#                                  (a login node without the GPUs of its cluster)
#   BENCH_PYTHON=PATH              the Python to start from
#   PIP_*                          pip's own settings hold, as everywhere

VENV=.venv
STAMP=$VENV/set-up.stamp
HALF_MADE=$VENV/set-up.half-made
LOG=$VENV/set-up.log
PINS=$VENV/set-up.pins

say() { printf 'set-up: %s\n' "$*" >&2; }

stop() {
    say "$*"
    exit 3
}

# Makes .venv what the checkout asks for, or stops with exit code 3 and the reason.
set_up() {
    lock
    find_machine
    key="$PWD $MACHINE $(cat pyproject.toml requirements/*.txt tools/setup.sh | cksum)"
    if [ ! -e "$HALF_MADE" ] && [ "$key" = "$(cat "$STAMP" 2>/dev/null)" ] && working msgspec bench; then
        unlock
        return
    fi
    begun=$(date +%s)
    system_packages
    if kept_as_it_is; then
        say "bringing $VENV up to date"
        rm -f "$STAMP"
        touch "$HALF_MADE"
    else
        find_python
        make_venv
    fi
    install_packages
    printf '%s\n' "$key" >"$STAMP"
    rm -f "$HALF_MADE"
    say "done in $(($(date +%s) - begun)) s; everything is in $VENV, what pip said in $LOG"
    unlock
}

# Two set-ups of one checkout wait for each other, where flock is there (Linux).
lock() {
    if command -v flock >/dev/null; then
        exec 9<pyproject.toml
        flock -n 9 || {
            say "another set-up of this checkout is at work: waiting for it"
            flock 9
        }
    fi
}

unlock() { exec 9<&-; }

working() {
    [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -c "import $(echo "$@" | tr ' ' ',')" 2>/dev/null
}

# A .venv can be kept when nothing cut its set-up off, it was made in this place, and its pip works.
kept_as_it_is() {
    [ ! -e "$HALF_MADE" ] && working pip && new_enough "$VENV/bin/python" || return 1
    case "$(cat "$STAMP" 2>/dev/null)" in
        "" | "$PWD $MACHINE "*) return 0 ;;
        *) return 1 ;;
    esac
}

# MACHINE: cpu, nvidia or amd.
find_machine() {
    MACHINE=${BENCH_MACHINE:-}
    case $MACHINE in
        cpu | nvidia | amd) ;;
        "")
            if has_nvidia; then
                MACHINE=nvidia
            elif has_amd; then
                MACHINE=amd
            else
                MACHINE=cpu
            fi
            ;;
        *) stop "BENCH_MACHINE is '$MACHINE'; accepted are cpu, nvidia, amd, or nothing: what is found" ;;
    esac
}

# The driver's control node alone is no device; Windows' Linux subsystem has no nodes, but the program.
has_nvidia() {
    { [ -e /dev/nvidiactl ] && ls /dev/nvidia[0-9]* >/dev/null 2>&1; } || nvidia-smi -L >/dev/null 2>&1
}

# Among the compute driver's nodes, those with SIMD units are GPUs; the others are processors.
has_amd() {
    [ -e /dev/kfd ] && grep -qs 'simd_count [1-9]' /sys/class/kfd/kfd/topology/nodes/*/properties
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# PYTHON: the one to start from. TORCH: 'theirs' where a machine with GPUs has a torch, which is then
# used and never replaced; else 'ours'.
find_python() {
    TORCH=ours
    if [ "$MACHINE" != cpu ]; then
        for name in ${BENCH_PYTHON:-python3 python python3.13 python3.12 python3.11}; do
            if new_enough "$name" && "$name" -c 'import torch' 2>/dev/null; then
                PYTHON=$("$name" -c 'import sys; print(sys.executable)')
                TORCH=theirs
                say "$MACHINE GPU: using the torch of $PYTHON"
                return
            fi
        done
    fi
    [ "$MACHINE" != amd ] || no_rocm_torch
    for name in ${BENCH_PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        if new_enough "$name"; then
            PYTHON=$("$name" -c 'import sys; print(sys.executable)')
            return
        fi
    done
    stop "no Python 3.11 or newer found (tried ${BENCH_PYTHON:-python3.11 to python3.13, python3, python})." \
        "Debian and Ubuntu: apt-get install python3 python3-venv." \
        "Elsewhere name one: BENCH_PYTHON=/path/to/python3 $0"
}

# A ROCm build of torch has to fit the installed ROCm, so none is chosen for the user.
no_rocm_torch() {
    say "this is set up for an AMD GPU, and no Python here (3.11 or newer) has a torch. The build has to fit the"
    say "installed ROCm, so none is chosen for you: install one as PyTorch's own instructions say (Get started,"
    stop "Compute Platform: ROCm), then start this again. To leave the GPU out: BENCH_MACHINE=cpu $0"
}

# An empty environment, with pip in it.
make_venv() {
    say "making $VENV from $PYTHON"
    rm -rf "$VENV"
    mkdir "$VENV"
    touch "$HALF_MADE"
    option=
    [ "$TORCH" = ours ] || option=--system-site-packages
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$PYTHON" -c 'import ensurepip' 2>/dev/null || apt_install "python$version-venv" || true
    if "$PYTHON" -c 'import ensurepip' 2>/dev/null; then
        "$PYTHON" -m venv $option "$VENV" >>"$LOG" 2>&1 || failed "python -m venv"
    elif "$PYTHON" -m virtualenv --version >/dev/null 2>&1; then
        "$PYTHON" -m virtualenv $option "$VENV" >>"$LOG" 2>&1 || failed "python -m virtualenv"
    elif command -v virtualenv >/dev/null; then
        virtualenv --python "$PYTHON" $option "$VENV" >>"$LOG" 2>&1 || failed "virtualenv"
    else
        stop "$PYTHON lacks ensurepip, and there is no virtualenv: no environment with pip can be made." \
            "As root: apt-get install python$version-venv"
    fi
    [ "$TORCH" = ours ] || working torch || borrow_torch
}

# Where the Python with torch is itself a virtual environment, its packages are put on the path by name.
borrow_torch() {
    home=$("$PYTHON" -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' 2>/dev/null)
    packages=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$home" >"$packages/torch-of-this-machine.pth"
    working torch || stop "the torch in $home does not work from $VENV: name another Python with BENCH_PYTHON=PATH"
}

install_packages() {
    pin_versions
    pip 'setuptools>=77' || failed "pip install setuptools" # what pyproject.toml builds with
    say "installing torch and what the project needs (about a minute once the packages are here)"
    project "dev${VENDOR:+,$VENDOR}" || failed "pip install"
    # where Python is told to write no bytecode (PYTHONDONTWRITEBYTECODE), `bench list` would compile each time
    "$VENV/bin/python" -m compileall -q bench clusters harness microbench >>"$LOG" 2>&1 || true
    for extra in deepspeed megatron uring $OPTIONAL; do
        say "installing the extra '$extra'"
        project "$extra" || say "the extra '$extra' does not install here; what needs it is skipped (why: $LOG)"
    done
}

# PINS: the constraints for pip. VENDOR: an extra that the machine needs; OPTIONAL: one it can do without.
pin_versions() {
    VENDOR='' OPTIONAL=''
    if [ "$MACHINE" = cpu ]; then
        printf -- '-c ../requirements/cpu.txt\n' >"$PINS"
        warn_of_large_torch
        return
    fi
    printf -- '-c ../requirements/tools.txt\n' >"$PINS"
    if working torch; then
        "$VENV/bin/python" -c 'import torch; print("torch==" + torch.__version__)' >>"$PINS" 2>/dev/null
    elif [ "$MACHINE" = amd ]; then
        no_rocm_torch
    fi
    if [ "$MACHINE" = nvidia ]; then VENDOR=nvidia; else OPTIONAL=amd; fi
}

# torch's CPU build for x86-64 lies on an index of its own; a plain index serves the CUDA build.
warn_of_large_torch() {
    case "$(uname -sm)" in "Linux x86_64") ;; *) return 0 ;; esac
    working torch && return 0
    if ! "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --quiet --dry-run --no-deps \
        --report - --constraint "$PINS" torch 2>>"$LOG" | grep -q '"version": ".*+cpu"'; then
        say "pip finds no CPU build of torch here and takes the CUDA build, several GB; to avoid that, stop this"
        say "and start it again as PIP_EXTRA_INDEX_URL=<the CPU index that PyTorch's 'Get started' page names> $0"
    fi
}

pip() {
    "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
        --constraint "$PINS" "$@" >>"$LOG" 2>&1
}

# This project, editable, with the named extras. The compatible mode is a plain path file: Python starts
# 12 ms sooner than with setuptools' import hook.
project() { pip --no-build-isolation --config-settings editable_mode=compat --editable ".[$1]"; }

failed() {
    tail -n 15 "$LOG" >&2
    stop "$1 failed; the lines above are the end of $LOG"
}

# Libraries and programs outside Python: installed where this is root on a machine with apt, else named.
system_packages() {
    libraries=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true)
    pdf=''
    has_library libpango-1.0.so.0 || pdf="$pdf libpango-1.0-0"
    has_library libpangoft2-1.0.so.0 || pdf="$pdf libpangoft2-1.0-0"
    has_library libharfbuzz.so.0 || pdf="$pdf libharfbuzz0b"
    has_library libharfbuzz-subset.so.0 || pdf="$pdf libharfbuzz-subset0"
    aio=''
    command -v g++ >/dev/null || aio="$aio g++"
    [ -e /usr/include/libaio.h ] || aio="$aio libaio-dev"
    fio=''
    command -v fio >/dev/null || fio=' fio'
    git=''
    command -v git >/dev/null || git=' git'
    [ -n "$pdf$aio$fio$git" ] || return 0
    # shellcheck disable=SC2086  # a list of names
    apt_install $pdf $aio $fio $git && return 0
    [ -z "$pdf" ] || say "missing:$pdf. Reports are written as HTML only, without PDF."
    [ -z "$aio" ] || say "missing:$aio. DeepSpeed's asynchronous I/O cannot be built; what needs it is skipped."
    [ -z "$fio" ] || say "missing:$fio. Rates of a disk stand without fio's beside them."
    [ -z "$git" ] || say "missing:$git. Records do not name the commit that measured them."
    say "to have them: apt-get install$pdf$aio$fio$git (as root)"
}

has_library() { case "$libraries" in *"$1"*) return 0 ;; *) return 1 ;; esac; }

# Debian packages by name; false where that cannot be done here.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing with apt-get: $*"
    out=$(mktemp)
    if DEBIAN_FRONTEND=noninteractive apt-get update >"$out" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@" >>"$out" 2>&1; then
        rm -f "$out"
        return 0
    fi
    tail -n 3 "$out" >&2
    say "apt-get could not install them"
    rm -f "$out"
    return 1
}
