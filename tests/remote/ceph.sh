#!/usr/bin/env bash
# A real S3 server for tests: one monitor, one OSD in memory and a RADOS gateway of Ceph, on
# loopback, with all files in one folder. Debian packages: ceph-mon ceph-osd radosgw ceph-common
# curl.
#
#   ceph.sh DIR    DIR does not exist or is empty; prints "ready PORT" when the bucket `test` can be
#                  used
#
# It then reads commands, one a line, and answers each with "ok". It stops everything that it
# started when its input ends or it gets a signal, so nothing outlives a test, however that ends.
#
#   kill           kills the gateway with kill -9 (the data stay in the OSD)
#   start          starts the gateway again
#   user NAME      creates a user with key NAME-key and secret NAME-secret
#   read-only      creates a key of the user `test` that may only read: reader-key, reader-secret
#   quota OBJECTS  limits the bucket `test` to this number of objects
#   public         lets everybody get objects of the bucket `test`, but not list them
#   full           makes the OSD accept nothing more, as a full disk does; then writes hang
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/loopback.sh
. "$here/../../scripts/loopback.sh"
# shellcheck source=tests/remote/ports.sh
. "$here/ports.sh"
export PATH=$PATH:/usr/sbin:/usr/local/sbin

fail() {
    printf 'ceph.sh: %s\n' "$*" >&2
    exit 1
}

for program in ceph-mon ceph-osd radosgw radosgw-admin ceph monmaptool curl; do
    type -P "$program" >/dev/null || fail "$program is missing: scripts/setup --test installs it"
done
[ $# = 1 ] || fail "usage: ceph.sh DIR"
mkdir -p "$1" && dir=$(cd "$1" && pwd) || exit 1
[ -z "$(ls -A "$dir")" ] || fail "$dir is not empty"
mkdir -p "$dir"/{run,log,mon,osd,rgw}

declare -A pids
stop() {
    local name pid
    trap '' EXIT TERM INT HUP
    for name in rgw osd mon; do
        # Everything is in memory and ends with the processes.
        pid=${pids[$name]:-}
        [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$dir" "${reserved[@]}"
}
trap stop EXIT
trap 'exit 143' TERM INT HUP

free_ports 1 && port=$found
free_ports 1 && monitor_port=$found
fsid=$(cat /proc/sys/kernel/random/uuid)

# No cephx, since only loopback can reach these servers. The gateway alone would require encryption,
# which needs cephx; `ms mon client mode` avoids that. One copy of everything, on one OSD.
cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$monitor_port]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
auth cluster required = none
auth service required = none
auth client required = none
keyring = $dir/run/keyring
ms mon client mode = crc
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
run dir = $dir/run
admin socket =
log file = $dir/log/\$name.log
mon cluster log file = $dir/log/cluster.log
crash dir = $dir/log
debug rgw = 0/1

[mon]
mon data = $dir/mon
# A single monitor need not wait for others to agree.
paxos propose interval = 0.01
paxos min wait = 0.01
mon data avail crit = 0

[osd]
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *

[client]
rgw data = $dir/rgw
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw enable apis = s3, admin
rgw thread pool size = 64
rgw rados pool pg num min = 1
rgw dynamic resharding = false
rgw override bucket index max shards = 1
rgw bucket quota ttl = 0
rgw user quota bucket sync interval = 1
CONF
: >"$dir/run/keyring"
conf=(--conf "$dir/ceph.conf")
export CEPH_CONF=$dir/ceph.conf CEPH_ARGS=

spawn() {
    local name=$1
    shift
    # It gets no input of ours: it must not keep the pipe open that we wait for.
    "$@" </dev/null >"$dir/log/$name.out" 2>&1 &
    pids[$name]=$!
}

# wait_for SECONDS WHAT DAEMON COMMAND...
wait_for() {
    local end=$((SECONDS + $1)) what=$2 name=$3
    shift 3
    until "$@" >/dev/null 2>&1; do
        if ! kill -0 "${pids[$name]}" 2>/dev/null || [ "$SECONDS" -ge "$end" ]; then
            tail -n 20 "$dir/log/$name.out" >&2
            fail "$name: no $what"
        fi
        sleep 0.05
    done
}

osd_is_up() { ceph "${conf[@]}" --connect-timeout 5 osd stat -f json | grep -q '"num_up_osds":1'; }
answers() { curl -s -o /dev/null --max-time 5 "http://127.0.0.1:$port/"; }

start_gateway() {
    spawn rgw radosgw "${conf[@]}" -f -n client.rgw
    wait_for 120 "answer" rgw answers
}

kill_gateway() {
    kill -KILL "${pids[rgw]}"
    # Its status is that of a killed process.
    wait "${pids[rgw]}" 2>/dev/null || true
}

user() {
    radosgw-admin "${conf[@]}" user create --uid="$1" --display-name="$1" --access-key="$1-key" \
        --secret-key="$1-secret" >"$dir/log/user.out" 2>&1
}

# s3 METHOD PATH: curl 7.88 omits a header that the gateway requires.
s3() {
    local method=$1 path=$2
    shift 2
    curl -s -S -f --aws-sigv4 aws:amz:us-east-1:s3 --user test-key:test-secret -X "$method" \
        -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "http://127.0.0.1:$port/$path" "$@"
}

osd_is_full() { ceph "${conf[@]}" --connect-timeout 5 osd dump | grep -q '^osd.0 .*full'; }

# Three failures in a row, since a single write may just take long.
write_fails() {
    for _ in 1 2 3; do
        ! s3 PUT test/probe --max-time 3 -d probe || return 1
    done
}

# Any use at all exceeds this ratio.
fill() {
    local ratio
    for ratio in nearfull backfillfull full; do
        ceph "${conf[@]}" osd "set-$ratio-ratio" 0.0000001 >>"$dir/log/full.out" 2>&1 || return 1
    done
    wait_for 120 "full OSD" osd osd_is_full
    # The gateway learns of it from the monitor a moment later.
    wait_for 120 "write that hangs" rgw write_fails
}

monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$monitor_port]" "$dir/run/monmap" \
    >"$dir/log/mkfs.out" 2>&1 &&
    ceph-mon "${conf[@]}" --mkfs -i a --monmap "$dir/run/monmap" >>"$dir/log/mkfs.out" 2>&1 ||
    { cat "$dir/log/mkfs.out" >&2; fail "cannot create the monitor's files"; }
spawn mon ceph-mon "${conf[@]}" -f -i a
osd=$(cat /proc/sys/kernel/random/uuid)
wait_for 120 "quorum" mon ceph "${conf[@]}" --connect-timeout 5 osd new "$osd" 0
ceph-osd "${conf[@]}" --mkfs -i 0 --osd-uuid "$osd" --monmap "$dir/run/monmap" --no-mon-config \
    >>"$dir/log/mkfs.out" 2>&1 || { cat "$dir/log/mkfs.out" >&2; fail "cannot create the OSD's files"; }
spawn osd ceph-osd "${conf[@]}" -f -i 0
wait_for 120 "OSD" osd osd_is_up
user test || user test || { cat "$dir/log/user.out" >&2; fail "cannot create the user test"; }
start_gateway
wait_for 60 "bucket" rgw s3 PUT test --max-time 20
printf 'ready %s\n' "$port"

while read -r command argument; do
    case $command in
    kill) kill_gateway ;;
    start) start_gateway ;;
    user) user "$argument" ;;
    read-only)
        radosgw-admin "${conf[@]}" subuser create --uid=test --subuser=test:reader --access=read \
            --key-type=s3 --access-key=reader-key --secret-key=reader-secret >"$dir/log/user.out" 2>&1
        ;;
    quota)
        radosgw-admin "${conf[@]}" quota set --quota-scope=bucket --uid=test --bucket=test \
            --max-objects="$argument" >"$dir/log/user.out" 2>&1 &&
            radosgw-admin "${conf[@]}" quota enable --quota-scope=bucket --uid=test --bucket=test \
                >>"$dir/log/user.out" 2>&1
        ;;
    full) fill ;;
    public)
        s3 PUT 'test?policy=' -d '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",
            "Action":["s3:GetObject"],"Resource":["arn:aws:s3:::test/*"]}]}' >"$dir/log/user.out" 2>&1
        ;;
    *) fail "unknown command $command" ;;
    esac || { tail -n 5 "$dir"/log/{user,full}.out >&2; fail "$command failed"; }
    echo ok
done
