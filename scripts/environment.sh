# Sourced by every script here: sets the top folder, cargo and the target folder, and prints each
# step and how long it took.
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# The scripts that source this file use it.
export top

# Not every user has an account: in a container the user may be a bare number.
account_home=$(getent passwd "$(id -u)" | cut -d: -f6 || true)
export HOME=${HOME:-${account_home:-/tmp}}

# Only this line decides where things are built: outside the checkout, so that a clean checkout
# finds RocksDB already built, which takes a quarter of an hour or more on two cores.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/freestone/target}

# shellcheck source=scripts/loopback.sh
. "$top/scripts/loopback.sh"

# Prints one line of what went wrong and what to do, and exits.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# True if version $1 is at least version $2.
version_at_least() {
    [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# Puts a cargo that is new enough onto PATH. It also searches where rustup and Rust's container
# images install cargo. rustup's cargo looks for its toolchains below HOME, which may be an empty
# folder, so RUSTUP_HOME is set if cargo does not find them.
find_cargo() {
    local needed cargo parent rustup version old=
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml")
    for cargo in "$(command -v cargo || true)" "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" \
        "$account_home/.cargo/bin/cargo" /usr/local/cargo/bin/cargo; do
        [ -x "$cargo" ] || continue
        parent=$(cd "$(dirname "$cargo")/../.." && pwd)
        for rustup in "${RUSTUP_HOME:-}" "$parent/.rustup" "$parent/rustup" "$account_home/.rustup"; do
            [ -z "$rustup" ] || [ -d "$rustup" ] || continue
            version=$(cd "$top" && ${rustup:+env "RUSTUP_HOME=$rustup"} "$cargo" --version 2>/dev/null |
                cut -d' ' -f2) || continue
            [ -n "$version" ] || continue
            if version_at_least "$version" "$needed"; then
                PATH=$(dirname "$cargo"):$PATH
                if [ -n "$rustup" ]; then
                    export RUSTUP_HOME=$rustup
                fi
                export PATH
                return
            fi
            old=$version
        done
    done
    [ -z "$old" ] || fail "cargo $old is too old, Rust $needed or newer is needed: rustup update stable"
    fail "no cargo found: install Rust $needed or newer, see https://rustup.rs"
}

step_name=
step_began=0
# step NAME COMMAND...: prints the name, runs the command, prints how long it took.
step() {
    step_name=$1
    step_began=$SECONDS
    shift
    printf '\n==> %s\n' "$step_name" >&2
    "$@"
    printf '==> %s: %s s\n' "$step_name" "$((SECONDS - step_began))" >&2
    step_name=
}

# For a trap on EXIT: prints the step that failed, if one did.
step_failed() {
    [ -z "$step_name" ] || printf '\n==> FAILED after %s s: %s\n' "$((SECONDS - step_began))" "$step_name" >&2
}

find_cargo
