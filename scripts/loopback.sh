# Sourced before anything uses the servers that tests run: they are on this machine, not behind a
# proxy.
# shellcheck shell=bash

# Programs differ in which of the two variables they read; some read one only if the other is not
# set.
: "${no_proxy:=${NO_PROXY:-}}" "${NO_PROXY:=$no_proxy}"
for list in no_proxy NO_PROXY; do
    case ${!list} in
    # It excludes everything already, which allows no other entry; or this file was sourced before.
    '*' | *127.0.0.1,localhost) ;;
    *) printf -v "$list" '%s' "${!list:+${!list},}127.0.0.1,localhost" ;;
    esac
done
unset list
export no_proxy NO_PROXY
