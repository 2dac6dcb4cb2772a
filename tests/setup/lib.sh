# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the scripts around samara share: messages, a progress line, clean-up, limits. Sourced by
# bash scripts; sets ROOT (the tree) and goes there.

set -u

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT" || exit 1
BUILD=$ROOT/build
PROG=${0##*/}
export LC_ALL=C.UTF-8

# ---- Messages: results on stdout, everything else on stderr -----------------------------------

progress_shown=

# A line that is replaced by the next one on a terminal, and a plain line in a log.
progress() {
	if [ -t 2 ]; then
		printf '\r\033[K%s' "$*" >&2
		progress_shown=1
	else
		printf '%s\n' "$*" >&2
	fi
}

# Like progress(), for what changes every second: nothing in a log.
tick() {
	if [ -t 2 ]; then
		printf '\r\033[K%s' "$*" >&2
		progress_shown=1
	fi
}

progress_end() {
	if [ -n "$progress_shown" ]; then
		printf '\r\033[K' >&2
		progress_shown=
	fi
}

say() {
	progress_end
	printf '%s\n' "$*"
}

warn() {
	progress_end
	printf '%s: %s\n' "$PROG" "$*" >&2
}

die() {
	warn "$*"
	exit 1
}

# ---- Clean-up: what is registered runs on every way out, last first ---------------------------

cleanup_commands=()

on_exit() {
	cleanup_commands+=("$1")
}

run_cleanup() {
	local i
	trap '' INT TERM HUP
	for ((i = ${#cleanup_commands[@]} - 1; i >= 0; i--)); do
		eval "${cleanup_commands[i]}"
	done
	cleanup_commands=()
	progress_end
}

# Signals end the script with the shell's status for them, by way of the EXIT trap.
trap 'run_cleanup' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# A private folder that goes away with the script.
make_tempdir() {
	TEMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/samara-$PROG.XXXXXX") || die "cannot make a folder in ${TMPDIR:-/tmp}"
	on_exit 'rm -rf "$TEMPDIR"'
}

# ---- Running things ------------------------------------------------------------------------------

need() {
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null || die "$tool is not installed; run 'make packages'"
	done
}

# running_command LOG LIMIT COMMAND...: in the background of a wait, so that a signal to this
# script is answered at once and takes the command along. Output goes to LOG, input is empty.
# Return: the command's status, 124 after LIMIT seconds.
running_command() {
	local log=$1 limit=$2 status
	shift 2
	timeout -k "${KILL_AFTER:-10}" "$limit" "$@" </dev/null >"$log" 2>&1 &
	running_pid=$!
	wait "$running_pid"
	status=$?
	running_pid=
	return "$status"
}

# timeout(1) makes a process group of its own and passes TERM on to all of it.
running_pid=
stop_running() {
	if [ -n "$running_pid" ]; then
		kill -TERM "$running_pid" 2>/dev/null
		wait "$running_pid" 2>/dev/null
		running_pid=
	fi
}
on_exit stop_running

# build LOG VARIABLE=VALUE... TARGET...: make with two jobs or as many as there are CPUs.
build() {
	local log=$1
	shift
	mkdir -p "$(dirname "$log")"
	running_command "$log" 1200 env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS \
		make --no-print-directory -j"$(nproc)" "$@"
}

# ---- Guest images ------------------------------------------------------------------------------------

# guest_base_cpio FOLDER OUT: an initramfs with busybox and nothing to run yet. /dev/console
# is in the kernel's own initramfs (usr/default_cpio_list).
guest_base_cpio() {
	local folder=$1 out=$2 applet
	rm -rf "$folder"
	mkdir -p "$folder"/{bin,dev,proc,sys,tmp,etc} || return
	cp "$(command -v busybox)" "$folder/bin/busybox" || return
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$folder/bin/$applet"
	done
	pack_cpio "$folder" "$out"
}

# pack_cpio FOLDER OUT: the folder's contents, owned by root whoever packs.
pack_cpio() {
	(cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$2"
}
