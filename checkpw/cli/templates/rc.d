#!/bin/sh
#
# @title@
# Made by `checkpw service rc.d`; checkpw(8) explains the variables. For rc.subr of NetBSD and pkgsrc.
#
# PROVIDE: @name@
# REQUIRE: LOGIN
# KEYWORD: shutdown
#
# What rc.subr gives and takes, shellcheck does not see.
# shellcheck disable=SC1091,SC2034,SC2154

name="@name@"
rcvar="@name@"

$_rc_subr_loaded . @rc_subr@

PATH=@path@:/usr/sbin:/sbin:$PATH
export PATH

load_rc_config "$name"

# What rc.conf does not say is so. Values are words of the shell.
@variables@
@functions@
# Sets pid, if it runs. The number alone could be anybody's by now; its name, or that of the program, is in its
# command line from the shell on that writes the file.
service_pid()
{
	[ -r "$@name@_pidfile" ] && read -r pid <"$@name@_pidfile" || return 1
	case $pid in '' | *[!0-9]*) return 1 ;; esac
	case $(ps -ww -o args= -p "$pid" 2>/dev/null) in *"$name"* | *"$@name@_@program@"*) return 0 ;; esac
	return 1
}

# Waits five seconds, or as often as $1 says, until the rest is so.
service_wait()
{
	tries=$1
	shift
	until "$@"; do
		[ "$tries" -gt 0 ] || return 1
		tries=$((tries - 1))
		sleep 0.1
	done
}

service_gone()
{
	! service_pid
}

service_start()
{
	if service_pid; then
		echo "$name is running already, as process $pid."
		return 1
	fi
	service_words || return 1
	log=$@name@_nologcmd
	if checkyesno @name@_log; then
		log=$@name@_logcmd
	fi
	rm -f "$@name@_pidfile"
	echo "Starting $name."
	# shellcheck disable=SC2016 # the inner shell replaces them
	pgrphack sh -c 'echo "$$" >"$1" && eval "exec $2"' sh "$@name@_pidfile" "$words" 2>&1 </dev/null |
		pgrphack setuidgid "$@name@_loguser" sh -c "exec $log" >/dev/null 2>&1 &
	if ! service_wait 50 service_pid; then
		echo "$name did not start; its log says why."
		return 1
	fi
}

service_stop()
{
	if ! service_pid; then
		echo "$name is not running."
		return 1
	fi
	echo "Stopping $name."
	# What is paused hears nothing else before it goes on.
	kill -TERM "$pid" && kill -CONT "$pid"
	if ! service_wait 900 service_gone; then
		echo "$name does not end."
		return 1
	fi
	rm -f "$@name@_pidfile"
}

service_status()
{
	if service_pid; then
		echo "$name is running as process $pid."
	else
		echo "$name is not running."
		return 1
	fi
}

service_signal()
{
	if ! service_pid; then
		echo "$name is not running."
		return 1
	fi
	echo "$2 $name."
	kill "-$1" "$pid"
}

start_cmd=service_start
stop_cmd=service_stop
status_cmd=service_status
stat_cmd=service_status
@commands@

run_rc_command "$1"
