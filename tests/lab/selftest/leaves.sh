# SPDX-License-Identifier: GPL-2.0-or-later
# lock: none
# Leaves a process in a session of its own; the lab ends it and says so in the log.
setsid sleep 12345 &
