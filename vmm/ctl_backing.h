/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CTL_BACKING_H
#define VMM_CTL_BACKING_H

#include <jansson.h>

#include <samara/error.h>

/**
 * ctl_parse_backing() - the value of plug's --backing
 * @text: "ram", "memfd", "hugetlb" or "file,path=FILE", then settings as of run --memory; NULL: "ram"
 * @out: what object-add takes, but for id and size
 *
 * A relative FILE is the caller's, not the VM's: their working directories differ.
 *
 * Return: 0, -EINVAL, -ENOMEM.
 */
int ctl_parse_backing(const char *text, json_t **out, struct samara_error *err);

#endif
