#!/usr/bin/env bash
# A real S3 server that ignores conditions, and continues with one of three nodes lost: Garage, on
# loopback, with all files in one folder. It is not a package of Debian.
#
#   garage.sh install    builds it (about ten minutes) into a folder next to the target folder
#   garage.sh DIR        DIR does not exist or is empty; prints "ready PORT PORT PORT", one port for
#                        each node, when the bucket `test` can be used
#
# It then reads commands, one a line, and answers each with "ok". It stops everything that it
# started when its input ends or it gets a signal, so nothing outlives a test, however that ends.
#
#   stop N         stops node N, 0 to 2
#   start N        starts node N again, and waits until the three see each other, if all run
set -uo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/environment.sh"
# shellcheck source=tests/remote/ports.sh
. "$(dirname "${BASH_SOURCE[0]}")/ports.sh"

version=2.5.0
cache=$(dirname "$CARGO_TARGET_DIR")/garage-$version
garage=$cache/bin/garage

install() {
    [ ! -x "$garage" ] || return 0
    printf 'garage.sh: building Garage %s into %s: about ten minutes, once\n' "$version" "$cache" >&2
    # It has its own target folder, so that nothing of ours is built again. Only the needed features
    # are built, and hardly optimised, since it stores little here and not for long.
    CARGO_TARGET_DIR=$cache/target CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        cargo install garage --version "$version" --locked --no-default-features \
        --features bundled-libs,sqlite --root "$cache" >&2 || fail "cannot build Garage, see above"
    rm -rf "$cache/target"
}

[ $# = 1 ] || fail "usage: garage.sh install | DIR"
if [ "$1" = install ]; then
    install
    exit
fi
[ -x "$garage" ] || fail "$garage is missing: tests/remote/garage.sh install builds it"
type -P curl >/dev/null || fail "curl is missing: scripts/setup --test installs it"
mkdir -p "$1" && dir=$(cd "$1" && pwd) || exit 1
[ -z "$(ls -A "$dir")" ] || fail "$dir is not empty"

declare -A pids
stop_all() {
    local node
    trap '' EXIT TERM INT HUP
    for node in "${!pids[@]}"; do
        kill -KILL "${pids[$node]}" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$dir" "${reserved[@]}"
}
trap stop_all EXIT
trap 'exit 143' TERM INT HUP

ports=()
shared=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
for node in 0 1 2; do
    # One for S3, one for the other nodes, one for the admin API.
    free_ports 3 && ports[node]=$found
    mkdir -p "$dir/$node"/{meta,data}
    cat >"$dir/$node/garage.toml" <<TOML
metadata_dir = "$dir/$node/meta"
data_dir = "$dir/$node/data"
db_engine = "sqlite"
metadata_fsync = false
data_fsync = false
replication_factor = 3
compression_level = "none"
rpc_bind_addr = "127.0.0.1:$((ports[node] + 1))"
rpc_public_addr = "127.0.0.1:$((ports[node] + 1))"
rpc_secret = "$shared"

[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:${ports[node]}"
root_domain = ".s3.localhost"

[admin]
api_bind_addr = "127.0.0.1:$((ports[node] + 2))"
TOML
done

ask() { "$garage" -c "$dir/0/garage.toml" "$@"; }

# wait_for SECONDS WHAT COMMAND...
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            tail -n 5 "$dir"/*/log >&2
            fail "no $what"
        fi
        sleep 0.05
    done
}

answers() { curl -s -o /dev/null --max-time 2 "http://127.0.0.1:${ports[$1]}/"; }
is_whole() {
    curl -s --max-time 2 "http://127.0.0.1:$((ports[$1] + 2))/health" | grep -q 'fully operational'
}
see_each_other() { [ "$(ask status 2>/dev/null | grep -c '127.0.0.1:')" -ge 3 ]; }

start() {
    # It gets no input of ours: it must not keep the pipe open that we wait for.
    RUST_LOG=garage=warn "$garage" -c "$dir/$1/garage.toml" server </dev/null >>"$dir/$1/log" 2>&1 &
    pids[$1]=$!
    wait_for 60 "answer of node $1" answers "$1"
}

stop() {
    kill -KILL "${pids[$1]}"
    wait "${pids[$1]}" 2>/dev/null
    unset "pids[$1]"
}

whole() {
    local node
    for node in 0 1 2; do
        wait_for 120 "health of node $node" is_whole "$node"
    done
}

for node in 0 1 2; do start "$node"; done
ids=()
for node in 0 1 2; do
    ids[node]=$("$garage" -c "$dir/$node/garage.toml" node id -q 2>/dev/null) || fail "node $node has no id"
    [ "$node" = 0 ] || ask node connect "${ids[node]}" >/dev/null 2>&1
done
wait_for 60 "view of three nodes" see_each_other
must() { ask "$@" >"$dir/ask.out" 2>&1 || { cat "$dir/ask.out" >&2; fail "garage $* fails"; }; }
for node in 0 1 2; do must layout assign -z "zone$node" -c 10GB "${ids[node]%%@*}"; done
must layout apply --version 1
whole
wait_for 20 "bucket" ask bucket create test
# Garage requires keys of this form. They are in tests/remote/garage.rs too.
key=GK$(printf '%024d' 1) secret=$(printf '%064d' 1)
must key import --yes -n test "$key" "$secret"
must bucket allow --read --write --owner test --key test
# All nodes know the bucket a moment later.
is_there() {
    curl -s -f -o /dev/null --aws-sigv4 aws:amz:us-east-1:s3 \
        --user "$key:$secret" \
        -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "http://127.0.0.1:${ports[$1]}/test"
}
for node in 0 1 2; do wait_for 30 "bucket on node $node" is_there "$node"; done
printf 'ready %s %s %s\n' "${ports[@]}"

while read -r command node; do
    case $command in
    stop) stop "$node" ;;
    # Two nodes alone do not report full health.
    start) start "$node" && { [ "${#pids[@]}" -lt 3 ] || whole; } ;;
    *) fail "unknown command $command" ;;
    esac || fail "$command failed"
    echo ok
done
