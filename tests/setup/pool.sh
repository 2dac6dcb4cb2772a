# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Commands beside each other, for scripts that have sourced lib.sh: pool_start begins one as soon as fewer
# than POOL_SIZE run, what each prints is shown whole when it has ended, and on the script's way out those
# that still run are told to end.

POOL_SIZE=${POOL_SIZE:-$(nproc)}

declare -A pool_names=() pool_outputs=() # by process id
pool_started=0
make_tempdir

# pool_start NAME COMMAND...: a function runs in a shell of its own, where what running_command (lib.sh)
# began ends with it.
pool_start() {
	local name=$1 output=$TEMPDIR/output.$((++pool_started))
	shift
	while [ ${#pool_names[@]} -ge "$POOL_SIZE" ]; do
		pool_reap
	done
	(
		if [ "$(type -t "$1")" != function ]; then
			exec "$@"
		fi
		# shellcheck disable=SC2034 # of lib.sh
		cleanup_commands=(stop_running)
		trap run_cleanup EXIT
		trap 'exit 143' TERM
		"$@"
	) </dev/null >"$output" 2>&1 &
	pool_names[$!]=$name
	pool_outputs[$!]=$output
	tick "$(pool_running)"
}

pool_running() {
	local IFS=,
	echo "${pool_names[*]}"
}

# pool_reap: waits until one has ended, and shows what it printed.
pool_reap() {
	local pid=
	wait -n -p pid "${!pool_names[@]}"
	[ -n "$pid" ] || die "lost sight of: $(pool_running)"
	progress_end
	cat "${pool_outputs[$pid]}"
	rm -f "${pool_outputs[$pid]}"
	unset "pool_names[$pid]" "pool_outputs[$pid]"
	tick "$(pool_running)"
}

# pool_wait: until all have ended.
pool_wait() {
	while [ ${#pool_names[@]} -gt 0 ]; do
		pool_reap
	done
}

pool_stop() {
	[ ${#pool_names[@]} -gt 0 ] || return 0
	kill -TERM "${!pool_names[@]}" 2>/dev/null
	wait "${!pool_names[@]}" 2>/dev/null
}
on_exit pool_stop
