#!/usr/bin/env bash
# Runs a command where there is no way out: a network of its own in which nothing but loopback is there, and a name server
# that cannot be reached. The kernel counts every packet that had nowhere to go; one is enough to fail.
#
#   tests/no_way_out.sh cargo test --locked --offline
#
# Where the machine gives no such network the command runs all the same, and a plain word says that nothing was proved;
# with REQUIRE=yes that is a failure.
set -euo pipefail

# Of RFC 5737: nobody has it.
name_server=192.0.2.53

say() { printf '== %s\n' "$*" >&2; }

# Packets that had no route, since this network is there.
no_routes() {
  awk '
    FILENAME ~ /snmp6$/ { if ($1 == "Ip6OutNoRoutes") n += $2; next }
    $1 == "Ip:" && !seen { for (i = 1; i <= NF; i++) if ($i == "OutNoRoutes") column = i; seen = 1; next }
    $1 == "Ip:" { n += $column }
    END { print n + 0 }
  ' /proc/net/snmp $([ -r /proc/net/snmp6 ] && echo /proc/net/snmp6)
}

if [ "${NO_WAY_OUT:-}" = inside ]; then
  unset NO_WAY_OUT
  ip link set lo up
  # What asks for a name asks there, and is counted.
  put() {
    local file
    file="$(mktemp)"
    chmod 644 "$file"
    cat >"$file"
    mount --bind "$file" "$(readlink -f "$1")"
    rm -f "$file"
  }
  echo "nameserver $name_server" | put /etc/resolv.conf
  # This machine's own name for itself is asked of nobody.
  { cat /etc/hosts; printf '127.0.0.1 localhost\n::1 localhost\n'; } 2>/dev/null | put /etc/hosts
  # Services that resolve for others are asked over sockets that no network bounds.
  if [ -e /etc/nsswitch.conf ]; then sed 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf | put /etc/nsswitch.conf; fi
  if [ -d /run/nscd ]; then mount -t tmpfs none /run/nscd; fi
  if [ "${TRY:-}" = yes ]; then
    # One packet that cannot leave: the kernel must count it, or nothing would be proved.
    (exec 3<>"/dev/tcp/$name_server/53") 2>/dev/null || true
    [ "$(no_routes)" -gt 0 ] || { echo "the kernel does not count what cannot leave"; exit 1; }
    exit 0
  fi
  before="$(no_routes)"
  status=0
  "$@" || status=$?
  tried=$(($(no_routes) - before))
  if [ "$tried" -ne 0 ]; then
    say "Something tried to leave: $tried packets had nowhere to go. \`strace -f -e trace=connect,sendto,sendmmsg\` names who."
    exit 1
  fi
  [ "$status" -eq 0 ] && say "Nothing tried to leave."
  exit "$status"
fi

[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }

enter=(unshare --net --mount)
[ "$(id -u)" -eq 0 ] || enter=(unshare --user --map-root-user --net --mount)
if ! problem="$(NO_WAY_OUT=inside TRY=yes "${enter[@]}" "$0" 2>&1)"; then
  say "No way out was NOT proved: this machine gives no network of one's own (${problem:-unshare failed})."
  [ "${REQUIRE:-}" = yes ] && exit 1
  exec "$@"
fi
NO_WAY_OUT=inside exec "${enter[@]}" "$0" "$@"
