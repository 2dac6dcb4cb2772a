/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <argp.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/commands.h"
#include "vmm/config.h"
#include "vmm/domain_xml.h"
#include "vmm/janitor.h"
#include "vmm/metrics.h"
#include "vmm/qmp.h"
#include "vmm/terminal.h"
#include "vmm/vm.h"

/* What shells report of a process that a signal ended. */
#define EXIT_SIGNAL 128

/* ---- The command line ---- */

enum {
	OPTION_KERNEL = 'k',
	OPTION_INITRD = 'i',
	OPTION_CMDLINE = 'c',
	OPTION_MEMORY = 'm',
	OPTION_NAME = 'n',
	OPTION_CPUS = 0x100,
	OPTION_BALLOON,
	OPTION_VIRTIO_MEM,
	OPTION_SERIAL,
	OPTION_QMP,
	OPTION_METRICS,
	OPTION_DOMAIN,
	OPTION_NUMA,
	OPTION_DIMM,
	OPTION_NO_REBOOT,
	OPTION_PAUSED,
};

static const struct argp_option options[] = {
	{"kernel", OPTION_KERNEL, "FILE", 0,
	 "Linux kernel: a bzImage (vmlinuz) or an ELF file with a PVH entry (vmlinux)", 1},
	{"initrd", OPTION_INITRD, "FILE", 0, "Its initial RAM disk", 1},
	{"cmdline", OPTION_CMDLINE, "TEXT", 0, "Its command line", 1},
	{"append", 0, NULL, OPTION_ALIAS, NULL, 1},
	{"domain", OPTION_DOMAIN, "FILE.xml", 0,
	 "Take all of this from a libvirt domain XML; options given besides override it", 1},
	{"cpus", OPTION_CPUS, "N", 0, "vCPUs (1)", 2},
	{"memory", OPTION_MEMORY, "SIZE[,...]", 0,
	 "Memory at start (512M). ,max=SIZE: with what can be plugged (as much as at start). "
	 ",slots=N: for that many DIMMs (32, if there is a max). "
	 ",backing=anon|memfd|hugetlb|file: what is behind it (anon). ,path=FILE: the file, of "
	 "which "
	 "the guest gets a copy; with ,share=on it is the memory, on tmpfs or hugetlbfs, and is "
	 "emptied. ,thp=off: no transparent huge pages. ,prealloc=on: all pages at once. "
	 ",host-nodes=A-B:C,policy=preferred|bind|interleave: the host's NUMA nodes it comes from",
	 2},
	{"balloon", OPTION_BALLOON, "SETTING,...", OPTION_ARG_OPTIONAL,
	 "A balloon (virtio-balloon). deflate-on-oom=off: the guest may not help itself; "
	 "free-page-reporting=off: it does not report free pages; packed=off: split virtqueues",
	 2},
	{"virtio-mem", OPTION_VIRTIO_MEM, "id=ID,size=SIZE[,...]", 0,
	 "Memory that the guest plugs and unplugs by blocks (virtio-mem), SIZE at most; may be "
	 "given "
	 "several times. ,requested=SIZE: how much at first (0). ,block=SIZE: size of a block "
	 "(2M). "
	 ",node=N: NUMA node. ,packed=off: split virtqueues",
	 2},
	{"numa", OPTION_NUMA, "memory=SIZE,cpus=A-B:C[,...]", 0,
	 "A NUMA node with a part of the memory and of the vCPUs; once for each node. "
	 ",host-nodes=A-B:C,policy=preferred|bind|interleave: as with --memory, for this part",
	 2},
	{"dimm", OPTION_DIMM, "SIZE[,node=N][,id=ID]", 0,
	 "A DIMM that is there from the start and can be unplugged", 2},
	{"serial", OPTION_SERIAL, "TO", 0,
	 "Where the serial port leads: stdio, pty, file:PATH or null (stdio)", 3},
	{"qmp", OPTION_QMP, "unix:PATH", 0, "Control socket, for samara ctl and other QMP clients",
	 3},
	{"metrics", OPTION_METRICS, "TO", 0,
	 "Serve counters to Prometheus at unix:PATH, tcp:PORT (on 127.0.0.1) or tcp:ADDRESS:PORT",
	 3},
	{"name", OPTION_NAME, "NAME", 0, "The machine's name (samara)", 3},
	{"paused", OPTION_PAUSED, NULL, 0, "Wait for 'cont' on the control socket", 4},
	{"no-reboot", OPTION_NO_REBOOT, NULL, 0, "End when the guest resets the machine", 4},
	{0},
};

static const char doc[] =
	"Run a virtual machine in the foreground, its serial port on this terminal."
	"\vConsole keys, when standard input is a terminal:\n"
	"  Ctrl-A x   end the virtual machine\n"
	"  Ctrl-A h   help\n"
	"  Ctrl-A a   send Ctrl-A to the guest (Ctrl-A Ctrl-A, too)\n"
	"  Any other key after Ctrl-A is ignored. Ctrl-C and Ctrl-Z go to the guest.\n"
	"When it is none, bytes pass unchanged, and its end is not the machine's.\n"
	"\n"
	"SIGTERM, SIGINT, SIGHUP and SIGQUIT end the machine; a second one ends samara at once.\n"
	"\n"
	"Exit status: 0 when the guest powered off (or reset the machine, with --no-reboot), or "
	"was "
	"ended by Ctrl-A x or the control socket; 1 for a failure; 2 for a wrong command line; 128 "
	"and "
	"the signal's number when a signal ended it.\n"
	"\n"
	"Examples:\n"
	"  samara run --kernel vmlinuz --initrd initrd --cmdline console=ttyS0 --cpus 2\n"
	"  samara run -k vmlinux -m 4G,backing=hugetlb,host-nodes=0,policy=bind\n"
	"  samara run -k vmlinux -m 512M,max=4G --serial pty --qmp unix:/run/vm.sock\n"
	"  samara run --domain guest.xml --serial file:guest.log\n"
	"  samara run -k vmlinux -m 1G --balloon --virtio-mem id=mem0,size=8G,requested=1G\n";

/* Options that are given go over what a domain XML says: so the domain is read in a first pass. */
struct parse {
	struct vm_config *config;
	const char *domain;
	bool domain_pass;
};

/* Replace a string of the config. */
static void set_string(char **string, const char *value, struct argp_state *state)
{
	char *copy = strdup(value);

	if (!copy)
		argp_failure(state, SAMARA_EXIT_FAILURE, ENOMEM, "options");
	free(*string);
	*string = copy;
}

static unsigned int parse_cpus(const char *text, struct argp_state *state)
{
	unsigned long cpus;
	char *end;

	errno = 0;
	cpus = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || cpus < 1 || cpus > VM_MAX_CPUS)
		argp_error(state, "--cpus: '%s' is not a number from 1 to %d", text, VM_MAX_CPUS);
	return (unsigned int)cpus;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct parse *parse = state->input;
	struct vm_config *config = parse->config;
	struct metrics_address address;
	struct samara_error err = {0};
	int ret = 0;

	if (parse->domain_pass) {
		if (key == OPTION_DOMAIN)
			parse->domain = arg;
		return key == ARGP_KEY_ARG ? ARGP_ERR_UNKNOWN : 0;
	}
	switch (key) {
	case OPTION_KERNEL:
		set_string(&config->kernel, arg, state);
		break;
	case OPTION_INITRD:
		set_string(&config->initrd, arg, state);
		break;
	case OPTION_CMDLINE:
		set_string(&config->cmdline, arg, state);
		break;
	case OPTION_NAME:
		set_string(&config->name, arg, state);
		break;
	case OPTION_DOMAIN:
		break;
	case OPTION_CPUS:
		config->cpus = parse_cpus(arg, state);
		break;
	case OPTION_MEMORY:
		ret = parse_memory(arg, config, &err);
		break;
	case OPTION_BALLOON:
		ret = parse_balloon(arg, config, &err);
		break;
	case OPTION_VIRTIO_MEM:
		ret = parse_virtio_mem(arg, config, &err);
		break;
	case OPTION_NUMA:
		ret = parse_numa(arg, config, &err);
		break;
	case OPTION_DIMM:
		ret = parse_dimm(arg, config, &err);
		break;
	case OPTION_SERIAL:
		ret = parse_serial(arg, &config->serial, &err);
		break;
	case OPTION_QMP:
		ret = parse_qmp(arg, &config->qmp_path, &err);
		break;
	case OPTION_METRICS:
		ret = metrics_parse(arg, &address, &err);
		if (!ret)
			set_string(&config->metrics, arg, state);
		break;
	case OPTION_NO_REBOOT:
		config->no_reboot = true;
		break;
	case OPTION_PAUSED:
		config->start_paused = true;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s': what is it? A kernel is given by --kernel", arg);
		break;
	case ARGP_KEY_END:
		ret = vm_config_check(config, &err);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (ret)
		argp_error(state, "%s", err.text);
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = doc,
};

static void warn(const char *text, void *arg)
{
	(void)arg;
	fprintf(stderr, "samara: warning: %s\n", text);
}

/*
 * Wrong command lines end the process here, with SAMARA_EXIT_USAGE. The janitor is started before
 * libvirt's parser, which may start threads.
 */
static int read_config_and_start_janitor(int argc, char **argv, struct vm_config *config,
					 struct samara_error *err)
{
	struct parse parse = {.config = config, .domain_pass = true};
	int ret;

	argp_err_exit_status = SAMARA_EXIT_USAGE;
	/* Silent: the second pass says what is wrong, and answers --help. */
	argp_parse(&argp, argc, argv, ARGP_SILENT, NULL, &parse);
	ret = janitor_start(err);
	if (ret)
		return ret;
	if (parse.domain) {
		ret = domain_xml_read(parse.domain, config, warn, NULL, err);
		if (ret)
			return ret;
	}
	parse.domain_pass = false;
	argp_parse(&argp, argc, argv, 0, NULL, &parse);
	return 0;
}

/* ---- Signals ---- */

/*
 * struct signals - the thread that takes samara's signals
 *
 * @vm, @ended_by: @lock. The others: immutable while the thread runs.
 */
struct signals {
	pthread_t thread;
	int fd;      /* signalfd */
	int stop_fd; /* eventfd */
	pthread_mutex_t lock;
	struct vm *vm; /* NULL: none yet, or no longer */
	int ended_by;  /* the first signal that asked for the end, 0: none */
};

static void end_by_signal(struct signals *signals, int number)
{
	pthread_mutex_lock(&signals->lock);
	if (!signals->vm || signals->ended_by) {
		/* Nothing could end in order, or it takes too long. The janitor does the rest. */
		terminal_release();
		_exit(EXIT_SIGNAL + number);
	}
	signals->ended_by = number;
	vm_quit(signals->vm, VM_CAUSE_HOST_SIGNAL);
	pthread_mutex_unlock(&signals->lock);
}

static void take_signal(struct signals *signals)
{
	struct signalfd_siginfo info;

	if (read(signals->fd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGTSTP:
		terminal_suspend();
		kill(getpid(), SIGSTOP);
		break;
	case SIGCONT:
		terminal_resume();
		break;
	default:
		end_by_signal(signals, (int)info.ssi_signo);
		break;
	}
}

static void *signals_main(void *arg)
{
	struct signals *signals = arg;
	struct pollfd fds[2] = {
		{.fd = signals->fd, .events = POLLIN},
		{.fd = signals->stop_fd, .events = POLLIN},
	};

	pthread_setname_np(pthread_self(), "signals");
	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			return NULL;
		if (fds[0].revents)
			take_signal(signals);
	}
}

/*
 * Block them in this thread and so in all that it starts, and take them in a thread of their own.
 * A signal that we were told to ignore (nohup, a shell's background jobs) stays ignored.
 */
static int signals_start(struct signals *signals, struct samara_error *err)
{
	static const int taken[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT};
	struct sigaction action;
	sigset_t set, block;
	size_t i;
	int ret;

	memset(signals, 0, sizeof(*signals));
	pthread_mutex_init(&signals->lock, NULL);
	sigemptyset(&set);
	for (i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (!sigaction(taken[i], NULL, &action) && action.sa_handler != SIG_IGN)
			sigaddset(&set, taken[i]);
	block = set;
	sigaddset(&block, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &block, NULL);

	signals->fd = signalfd(-1, &set, SFD_CLOEXEC);
	signals->stop_fd = eventfd(0, EFD_CLOEXEC);
	ret = signals->fd < 0 || signals->stop_fd < 0 ? -errno : 0;
	if (!ret)
		ret = -pthread_create(&signals->thread, NULL, signals_main, signals);
	return ret ? samara_error_set(err, ret, "cannot take signals: %s", strerror(-ret)) : 0;
}

/* From here on a signal ends @vm in order; with NULL, it ends samara at once. */
static void signals_set_vm(struct signals *signals, struct vm *vm)
{
	pthread_mutex_lock(&signals->lock);
	signals->vm = vm;
	pthread_mutex_unlock(&signals->lock);
}

static void signals_stop(struct signals *signals)
{
	eventfd_write(signals->stop_fd, 1);
	pthread_join(signals->thread, NULL);
	close(signals->stop_fd);
	close(signals->fd);
	pthread_mutex_destroy(&signals->lock);
}

/* ---- The run ---- */

static int run_vm(const struct vm_config *config, struct signals *signals, struct samara_error *err)
{
	struct metrics_server *metrics = NULL;
	struct qmp_server *qmp = NULL;
	enum vm_end end;
	struct vm *vm;
	int ret;

	ret = vm_create(config, &vm, err);
	if (ret)
		return ret;
	signals_set_vm(signals, vm);
	if (config->qmp_path)
		ret = qmp_server_start(vm, config->qmp_path, &qmp, err);
	if (!ret && config->metrics)
		ret = metrics_server_start(vm, config->metrics, &metrics, err);
	if (!ret)
		ret = vm_run(vm, &end, err);
	metrics_server_stop(metrics);
	/* Its threads may be in the middle of a command on the VM. */
	if (qmp)
		qmp_server_stop(qmp);
	signals_set_vm(signals, NULL);
	vm_destroy(vm);
	return ret;
}

int cmd_run(int argc, char **argv)
{
	struct samara_error err = {0};
	struct signals signals;
	struct vm_config config;
	int ret;

	vm_config_init(&config);
	ret = read_config_and_start_janitor(argc, argv, &config, &err);
	if (ret)
		goto out_janitor;
	ret = signals_start(&signals, &err);
	if (ret)
		goto out_janitor;
	ret = run_vm(&config, &signals, &err);
	signals_stop(&signals);
	terminal_release();
	if (!ret && signals.ended_by)
		ret = EXIT_SIGNAL + signals.ended_by;
out_janitor:
	janitor_stop();
	vm_config_free(&config);
	if (ret >= 0)
		return ret;
	fprintf(stderr, "samara: %s\n", err.text);
	return SAMARA_EXIT_FAILURE;
}
