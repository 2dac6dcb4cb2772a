/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The doctor on the rest of the host: huge pages, CPUs, nodes, QEMU for the lab. */
#include <dirent.h>
#include <linux/membarrier.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/doctor.h"

#define LAB_PROGRAM "qemu-system-x86_64"

/* The first line of a file, "" if it can't be read. */
static void read_line(const char *path, char *text, size_t text_bytes)
{
	FILE *file = fopen(path, "re");

	if (!file || !fgets(text, (int)text_bytes, file))
		*text = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (file)
		fclose(file);
}

/* The word in brackets of a setting like "always [madvise] never". */
static void read_choice(const char *path, char *text, size_t text_bytes)
{
	char line[128], *start, *end;

	read_line(path, line, sizeof(line));
	start = strchr(line, '[');
	end = start ? strchr(start, ']') : NULL;
	if (end)
		*end = '\0';
	snprintf(text, text_bytes, "%s", end ? start + 1 : "not there");
}

static void examine_thp(struct doctor_report *report)
{
	char anon[64], shmem[64];
	bool usable;

	read_choice("/sys/kernel/mm/transparent_hugepage/enabled", anon, sizeof(anon));
	read_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", shmem, sizeof(shmem));
	usable = !strcmp(anon, "always") || !strcmp(anon, "madvise");
	doctor_add(report, "transparent-hugepages", usable ? DOCTOR_OK : DOCTOR_LIMITED,
		   "fewer and cheaper faults behind guest memory; not used yet",
		   "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
		   "anonymous: %s; shared memory: %s", anon, shmem);
}

static void examine_hugetlb(struct doctor_report *report)
{
	const char *folder = "/sys/kernel/mm/hugepages";
	DIR *sizes = opendir(folder);
	char list[256] = "";
	struct dirent *entry;
	unsigned long free_pages = 0;

	while (sizes && (entry = readdir(sizes))) {
		char path[384], total[32], unused[32];
		size_t used = strlen(list);
		unsigned int size_kib;

		if (sscanf(entry->d_name, "hugepages-%ukB", &size_kib) != 1)
			continue;
		snprintf(path, sizeof(path), "%s/%s/nr_hugepages", folder, entry->d_name);
		read_line(path, total, sizeof(total));
		snprintf(path, sizeof(path), "%s/%s/free_hugepages", folder, entry->d_name);
		read_line(path, unused, sizeof(unused));
		free_pages += strtoul(unused, NULL, 10);
		snprintf(list + used, sizeof(list) - used, "%s%u MiB: %s free of %s",
			 used ? "; " : "", size_kib / 1024, unused, total);
	}
	if (sizes)
		closedir(sizes);
	doctor_add(report, "hugetlb", free_pages ? DOCTOR_OK : DOCTOR_LIMITED,
		   "huge pages set aside; not used yet", "as root: sysctl vm.nr_hugepages=N", "%s",
		   *list ? list : "none");
}

static void examine_membarrier(struct doctor_report *report)
{
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	bool has = commands > 0 && commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED;

	doctor_add(report, "membarrier", has ? DOCTOR_OK : DOCTOR_LIMITED,
		   "cheaper read sides for RCU: writers pay instead", "Linux 4.14 or later", "%s",
		   has ? "private expedited" : "not private expedited");
}

static void examine_cpus(struct doctor_report *report)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	char nodes[64];

	doctor_add(report, "cpus", cpus > 1 ? DOCTOR_OK : DOCTOR_LIMITED,
		   "vCPUs and fault handlers run side by side from two on", NULL, "%ld online",
		   cpus);
	read_line("/sys/devices/system/node/online", nodes, sizeof(nodes));
	doctor_add(report, "numa-nodes", DOCTOR_OK, "guests have one node", NULL, "online: %s",
		   *nodes ? nodes : "the kernel tells none");
}

/* Whether a program is on the PATH; @path takes its whole name. */
static bool find_program(const char *name, char *path, size_t path_bytes)
{
	char *list = strdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin"), *rest = list,
	     *folder;
	bool found = false;

	while (list && !found && (folder = strsep(&rest, ":"))) {
		snprintf(path, path_bytes, "%s/%s", folder, name);
		found = !access(path, X_OK);
	}
	free(list);
	return found;
}

static void examine_lab(struct doctor_report *report)
{
	char path[512];

	report->lab_usable = find_program(LAB_PROGRAM, path, sizeof(path));
	doctor_add(report, "lab", report->lab_usable ? DOCTOR_OK : DOCTOR_MISSING,
		   "a machine with nested paging, emulated by QEMU, for what can't run directly",
		   "install qemu-system-x86 (make demo does)", "%s",
		   report->lab_usable ? path : LAB_PROGRAM " is not on the PATH");
}

void doctor_examine_host(struct doctor_report *report)
{
	examine_thp(report);
	examine_hugetlb(report);
	examine_membarrier(report);
	examine_cpus(report);
	examine_lab(report);
}
