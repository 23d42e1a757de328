# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by tests of programs that come in pairs, server and client. Either may be
# run by a command before it, such as "ip netns exec left".

SERVER_BY=() CLIENT_BY=()
server=''
# Seconds that a program may take; on a busy host a few MB take the debug kernel minutes.
PATIENCE=60
[[ $(uname -r) != *-debug ]] || PATIENCE=240

# ipv4_gid DEVICE: the index of the first GID that holds an IPv4 address.
ipv4_gid() {
	local gids=/sys/class/infiniband/$1/ports/1/gids i
	for i in {0..15}; do
		[[ $(cat "$gids/$i" 2>/dev/null) != 0000:0000:0000:0000:0000:ffff:* ]] || { echo "$i" && return; }
	done
	echo "$1 has no GID of an IPv4 address" >&2
	return 1
}

# listens tcp|cm PORT: by TCP, or by the RDMA connection manager.
listens() {
	case $1 in
	tcp) "${SERVER_BY[@]}" ss -Htln | grep -q ":$2 " ;;
	cm) "${SERVER_BY[@]}" rdma resource show cm_id | grep -q "state LISTEN .*:$2 " ;;
	esac
}

# serve tcp|cm PORT COMMAND...: in the background, as $server, once it listens.
serve() {
	local how=$1 port=$2 tries=0
	shift 2
	timeout "$PATIENCE" "${SERVER_BY[@]}" "$@" &
	server=$!
	until listens "$how" "$port"; do
		if ((++tries > 500)) || ! kill -0 "$server" 2>/dev/null; then
			echo "no server at port $port"
			end_server
			return 1
		fi
		sleep 0.1
	done
}

end_server() {
	kill "$server" 2>/dev/null || :
	wait "$server" 2>/dev/null || :
}

# client COMMAND...: one that fails does not leave its server waiting.
client() {
	local rc=0
	timeout "$PATIENCE" "${CLIENT_BY[@]}" "$@" || rc=$?
	((rc == 0)) || end_server
	return "$rc"
}

# pair tcp|cm PORT SERVER... -- CLIENT...: both have to end well.
pair() {
	local listening=()
	while [[ $1 != -- ]]; do
		listening+=("$1")
		shift
	done
	shift
	serve "${listening[@]}" && client "$@" && wait "$server"
}

# rping_verify tcp|cm ADDRESS PORT COUNT SIZE: both ends compare what comes with what is due.
rping_verify() {
	local args=(-a "$2" -p "$3" -V -C "$4" -S "$5")
	pair "$1" "$3" rping -s "${args[@]}" -- rping -c "${args[@]}"
}

# rcopy_compare ADDRESS PORT BYTES: the file that was sent, and the one that came. Its
# server goes on serving.
rcopy_compare() {
	local rc=0
	head -c "$3" /dev/urandom >/run/sent
	rm -f /run/received
	serve cm "$2" rcopy -p "$2" || return 1
	client rcopy /run/sent "$1:/run/received" -p "$2" || rc=$?
	end_server
	cmp /run/sent /run/received && ((rc == 0))
}
