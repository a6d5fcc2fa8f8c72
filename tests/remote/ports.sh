# Ports for the servers of tests. Sourced by the scripts that start them.
# shellcheck shell=bash

# Nothing listens on a chosen port until its server runs, nor while the server is killed and started
# again. So a file says whose port it is. A script that sources this removes the files in the end.
reserved=()

# True if the port is free or belongs to a script that has ended. It then belongs to this script.
reserve() {
    local file=${TMPDIR:-/tmp}/freestone-port-$1 is_ours=
    if (set -C && echo $$ >"$file") 2>/dev/null; then
        is_ours=1
    # Of the scripts that find a file abandoned, one may take it. It checks again, since another
    # script may just have taken it.
    elif is_abandoned "$file" && mkdir "$file.taking" 2>/dev/null; then
        ! is_abandoned "$file" || { rm -f "$file" && (set -C && echo $$ >"$file") && is_ours=1; } 2>/dev/null
        rmdir "$file.taking"
    fi
    [ -n "$is_ours" ] || return 1
    reserved+=("$file")
}

is_abandoned() {
    local owner
    # A file without a number was created just now.
    owner=$(cat "$1" 2>/dev/null) && [ -n "$owner" ] && [ ! -e "/proc/$owner" ]
}

# free_ports COUNT: sets `found` to the first of COUNT free ports in a row. They are below the range
# that the system gives to clients, so that no client takes one meanwhile.
free_ports() {
    local port one
    for _ in $(seq 200); do
        port=$((10000 + RANDOM % 20000))
        for ((one = port; one < port + $1; one++)); do
            ! (exec 3<>"/dev/tcp/127.0.0.1/$one") 2>/dev/null || continue 2
            reserve "$one" || continue 2
        done
        found=$port
        return
    done
    fail "no free port, or cannot write to ${TMPDIR:-/tmp}"
}
