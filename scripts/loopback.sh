# Servers that tests run are here, not behind a proxy: sourced before anything talks to them.
# shellcheck shell=bash

# Programs differ in which of the two they read, and some read one only if the other is not set.
: "${no_proxy:=${NO_PROXY:-}}" "${NO_PROXY:=$no_proxy}"
for list in no_proxy NO_PROXY; do
    case ${!list} in
    # Everything already, which stands alone; or this was sourced before.
    '*' | *127.0.0.1,localhost) ;;
    *) printf -v "$list" '%s' "${!list:+${!list},}127.0.0.1,localhost" ;;
    esac
done
unset list
export no_proxy NO_PROXY
