/* SPDX-License-Identifier: Apache-2.0 */
/* path.h - where the control socket is, when nobody says otherwise: the same answer for batond and baton. Any thread.
 */
#ifndef CONTROL_PATH_H
#define CONTROL_PATH_H

#include "base/base.h"

/*
 * $BATON_SOCKET, else $XDG_RUNTIME_DIR/baton/control.sock, else /run/baton/control.sock. -ENAMETOOLONG when the name
 * does not fit a socket address; e explains.
 */
int control_default_path(char *buf, size_t size, struct error *e);

#endif
